"""``phantom-edge verify``: does a bundle compute its model?"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.cli.console import JsonOption, friendly, load_torch, note, print_json, print_table, tasks

if TYPE_CHECKING:
    from phantom_edge.export.bundle.manifest import Check, Proof


@friendly
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder that phantom-edge export wrote.")],
    against: Annotated[
        str | None, typer.Option(help="Checkpoint folder or hub id; default: the one that it was made from.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report for the browser to this file.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the result into the bundle.")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Run a bundle and its checkpoint on the same fixed inputs and compare them; exit code 1 past a bound."""
    load_torch()
    from phantom_edge.checkpoint.hub import find_folder
    from phantom_edge.export.bundle.folder import Bundle, record_proof
    from phantom_edge.export.report import write_report
    from phantom_edge.export.source import Source
    from phantom_edge.export.verify import check_source
    from phantom_edge.export.verify import verify as compare

    opened = Bundle.open(bundle)
    source = Source.open(find_folder(against or opened.manifest.model.name))
    for line in check_source(opened, source):
        note(line)
    with tasks() as begin:
        proof = compare(opened, source, partial(begin, "comparing"))
    if record:
        opened = record_proof(opened, proof)
    if html is not None:
        write_report(html, opened, proof)
    if json:
        print_json(document(bundle, proof))
    else:
        _show(bundle, proof)
        if html is not None:
            note(f"wrote {html}")
    if not proof.passed:
        raise typer.Exit(1)


def document(bundle: Path, proof: "Proof") -> dict[str, object]:
    """The document of ``--json``."""
    return {
        "bundle": str(bundle),
        "passed": proof.passed,
        "left_out": list(proof.left_out),
        "checks": [
            {
                "stage": check.stage,
                "case": check.case,
                "measure": check.measure,
                "value": check.value,
                "bound": check.bound,
                "passed": check.passed,
            }
            for check in proof.checks
        ],
    }


def by_stage(proof: "Proof") -> dict[tuple[str, str], dict[str, "Check"]]:
    """The checks of each stage and case, by measure."""
    found: dict[tuple[str, str], dict[str, Check]] = {}
    for check in proof.checks:
        found.setdefault((check.stage, check.case), {})[check.measure] = check
    return found


def _show(bundle: Path, proof: "Proof") -> None:
    rows = [(stage, case, *_cells(checks)) for (stage, case), checks in by_stage(proof).items()]
    print_table(
        f"{bundle} against its checkpoint in float32",
        ("stage", "case", "relative error", "bound", "absolute error", "KL, nats", "other tokens, %", ""),
        rows,
    )
    for case in proof.left_out:
        note(f"left out: {case} (does not fit into the cache)")
    if not proof.passed:
        failed = sum(not check.passed for check in proof.checks)
        note(f"{failed} of {len(proof.checks)} measures are past their bounds: this bundle does not compute its model")


def _cells(checks: Mapping[str, "Check"]) -> tuple[str, ...]:
    from phantom_edge.export.bundle.manifest import ABSOLUTE, DIVERGENCE, OTHERS, RELATIVE

    relative = checks[RELATIVE]
    divergence, others = (checks.get(name) for name in (DIVERGENCE, OTHERS))
    return (
        f"{relative.value:.1e}",
        f"{relative.bound:.0e}",
        f"{checks[ABSOLUTE].value:.1e}",
        "-" if divergence is None else f"{divergence.value:.1e}",
        "-" if others is None else f"{100 * others.value:.1f}",
        "ok" if all(check.passed for check in checks.values()) else "FAILED",
    )

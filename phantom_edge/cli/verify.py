"""``phantom-edge verify``: a bundle compared with its checkpoint, stage by stage."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge import api
from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.cli.bundles import check_model, note_caution
from phantom_edge.cli.choices import BUNDLE
from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table, tasks
from phantom_edge.cli.golden import verify_golden
from phantom_edge.foundation.errors import EdgeError

if TYPE_CHECKING:
    from phantom_edge.bundle.proof import Check, Proof


@friendly
def verify(
    bundle: Annotated[Path, typer.Argument(help=BUNDLE)],
    against: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder, hub id or nano; default: the one that the bundle names."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.")] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Compare with float16 inside operators, too, where the target supports it."),
    ] = False,
    record: Annotated[bool, typer.Option("--record", help="Write the result into the bundle.")] = False,
    golden: Annotated[
        bool, typer.Option("--golden", help="Compare with the bundle's own golden files instead of a checkpoint.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="Public key of minisign that the bundle must be signed with.")
    ] = None,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Run a bundle and its checkpoint on the same fixed inputs and compare them; exit code 1 past a bound."""
    if key is not None:
        from phantom_edge.bundle.signature import check_signature, read_public_key

        signer = read_public_key(key)
        note(f"signed by the owner of key {signer.name}: {check_signature(bundle, signer)}")
    read_manifest(bundle)  # before torch is loaded
    if against is not None:
        check_model(against)
    if golden:
        given = {"--against": against, "--html": html, "--strict": strict, "--record": record}
        verify_golden(bundle, [flag for flag, value in given.items() if value], json=json)
        return
    if html is not None and not html.absolute().parent.is_dir():
        raise EdgeError(f"there is no folder {html.absolute().parent}", "make it, or choose another file for --html")
    with tasks() as begin:
        proof = api.verify_bundle(bundle, against=against, strict=strict, record=record, note=note, progress=begin)
    opened = Bundle(bundle, read_manifest(bundle))
    if json:
        print_json(document(bundle, proof))
    else:
        _show(bundle, proof)
        note_caution(opened)
    if html is not None:
        from phantom_edge.export.proof.report import write_report

        write_report(html, opened, proof)
        note(f"wrote {html}")
    if not proof.passed:
        raise typer.Exit(1)


SHOWN = 12
"""Layers in the table; ``--json`` has all."""


def document(bundle: Path, proof: "Proof") -> dict[str, object]:
    """Returns the document of ``--json``."""
    return {
        "bundle": str(bundle),
        "passed": proof.passed,
        "left_out": list(proof.left_out),
        "checks": [
            {
                "stage": check.stage,
                "case": check.case,
                "form": check.form,
                "measure": check.measure,
                "value": check.value,
                "bound": check.bound,
                "passed": check.passed,
            }
            for check in proof.checks
        ],
        "hazards": [asdict(hazard) for hazard in proof.hazards],
        "layers": [asdict(layer) for layer in proof.layers],
    }


def _show(bundle: Path, proof: "Proof") -> None:
    is_bound = any(check.bound is not None for check in proof.checks)
    rows = [(stage, case, *_cells(checks)) for (stage, case), checks in proof.by_stage().items()]
    print_table(
        f"{bundle} against {'its' if is_bound else 'a float'} checkpoint",
        ("stage", "case", "relative error", "bound", "absolute error", "KL, nats", "other tokens", ""),
        rows,
    )
    if proof.hazards:
        print_table(
            "Hazards of float16, worst first",
            ("part", "operator", "kind", "NaN", "overflows", "masked rows", "vanished", "subnormal"),
            [
                (
                    one.part,
                    one.operator,
                    one.kind,
                    f"{one.nans:,}",
                    f"{one.overflows:,}",
                    f"{one.masked_rows:,}",
                    f"{one.vanished:.1%}",
                    f"{one.subnormal:.1%}",
                )
                for one in proof.hazards
            ],
            "counts of NaN and of numbers beyond the range; shares that became 0 or subnormal",
        )
    if proof.layers:
        print_table(
            "Layers, worst first",
            ("part", "layer", "signal to noise, dB"),
            [
                (one.part, str(one.layer), "-" if one.decibels is None else f"{one.decibels:.1f}")
                for one in proof.layers[:SHOWN]
            ],
            f"{min(SHOWN, len(proof.layers))} of {len(proof.layers)}; noise includes that of all earlier layers",
        )
    for case in proof.left_out:
        note(f"prompt left out: {case} (does not fit into the cache)")
    if not proof.passed:
        failed = sum(not check.passed for check in proof.checks)
        note(f"{failed} of {len(proof.checks)} measures are past their bounds: this bundle does not compute its model")


def _verdict(checks: Iterable["Check"]) -> str:
    checks = list(checks)
    if all(check.bound is None and check.passed for check in checks):
        return "-"
    return "ok" if all(check.passed for check in checks) else "FAILED"


def _cells(checks: Mapping[str, "Check"]) -> tuple[str, ...]:
    from phantom_edge.bundle.proof import ABSOLUTE, DIVERGENCE, OTHERS, RELATIVE

    cells = {
        name: checks[name].value_text if name in checks else "-" for name in (RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS)
    }
    return (
        cells[RELATIVE],
        checks[RELATIVE].bound_text if RELATIVE in checks else "-",
        cells[ABSOLUTE],
        cells[DIVERGENCE],
        cells[OTHERS],
        _verdict(checks.values()),
    )

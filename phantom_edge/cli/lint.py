"""``phantom-edge lint``: operations that a device can run by its documentation, and rules that exclude the rest."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.bundle.folder import read_manifest
from phantom_edge.cli.choices import BUNDLE
from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table, tasks

if TYPE_CHECKING:
    from phantom_edge.export.lint import Finding, Report, Source

LEAST = 0.99


@friendly
def lint(
    bundle: Annotated[Path, typer.Argument(help=BUNDLE)],
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Exit with code 1 where a part has less than --least eligible, or computes something else.",
        ),
    ] = False,
    least: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum eligible share of each part's multiply-adds, for --strict.")
    ] = LEAST,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Show the operations that a device can run and the rules that exclude the rest, with sources.

    An eligible operation need not run on the device: only its own compiler decides. The note below the tables rates the
    target's rules.
    """
    from phantom_edge.export.linting import lint_bundle
    from phantom_edge.models.packages import quiet_torch

    read_manifest(bundle)  # before torch is loaded
    note("loading torch ...")
    quiet_torch()
    with tasks() as begin:
        report = lint_bundle(bundle, partial(begin, "reading the bundle"))
    if json:
        print_json({"bundle": str(bundle), **report.document()})
    else:
        _show(bundle, report)
    short = {name: part.share for name, part in report.parts.items() if part.share < least}
    wrong = [one for one in report.findings if one.severity == "wrong"]
    for name, share in short.items() if strict else ():
        note(f"{name}: {_percent(share)} of the multiply-adds are eligible, less than {_percent(least)}")
    for one in wrong if strict else ():
        note(f"{', '.join(one.parts)}: {one.rule} is broken, and something else is computed")
    if strict and (short or wrong):
        raise typer.Exit(1)


def _percent(share: float) -> str:
    """Formats a share, rounded down so that 100 % is all."""
    return f"{int(share * 1000) / 10:.1f} %"


def _show(bundle: Path, report: "Report") -> None:
    from phantom_edge.export.targets import TARGETS

    rules = TARGETS[read_manifest(bundle).target].lint
    assert rules is not None
    print_table(
        f"{bundle} {rules.where.format(report.compute)}: {report.placement}",
        ("part", "operations", "eligible", "multiply-adds, M", "share eligible"),
        [
            (
                name,
                f"{part.operations:,}",
                f"{part.eligible:,}",
                f"{part.multiply_adds / 1e6:,.2f}",
                _percent(part.share),
            )
            for name, part in report.parts.items()
        ],
        None if report.findings else f"no rule is broken. {rules.about}",
    )
    if not report.findings:
        return
    print_table(
        "Rules broken",
        ("rule and reason", "effect", "operations", "multiply-adds, M", "for example"),
        [_row(one) for one in report.findings],
        "blocks: not eligible; wrong: runs, and computes something else; slows: eligible, but slow or fragile",
    )
    named: dict[Source, list[str]] = {}
    for one in report.findings:
        for source in one.sources:
            named.setdefault(source, []).append(one.rule)
    print_table(
        "Sources",
        ("source", "rules"),
        [(f"{source.title}\n  {source.url}", "\n".join(names)) for source, names in named.items()],
        rules.about,
    )


def _row(finding: "Finding") -> tuple[str, ...]:
    return (
        f"{finding.rule}: {finding.what}" + (f" ({finding.note})" if finding.note else ""),
        finding.severity,
        "\n".join(f"{name} {count:,}" for name, count in finding.parts.items()),
        f"{finding.multiply_adds / 1e6:,.2f}",
        "\n".join(finding.examples),
    )

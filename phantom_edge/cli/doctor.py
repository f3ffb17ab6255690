"""``phantom-edge doctor``: installed packages, clashes, and what each target lacks."""

from collections.abc import Iterable
from typing import Annotated

import typer

from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table
from phantom_edge.cli.installed import Package, Report, examine, needed, purposes
from phantom_edge.foundation.versions import install_command


@friendly
def doctor(json: Annotated[bool, JsonOption] = False) -> None:
    """Check the installation: versions, known clashes, needs of each target. Exit code 1 if the core is broken."""
    note("checking ...")
    report = examine()
    if json:
        print_json(report.document())
    else:
        _show(report)
    if not report.is_ok:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    print_table("This machine", ("property", "value"), list(report.machine.items()))
    print_table(
        "Packages",
        ("package", "extra", "required", "installed", "state"),
        [(p.name, p.extra, _range(p.wanted), p.installed or "-", p.state) for p in _once(report.packages)],
        "each package once, at the first extra that brings it",
    )
    rows = [(purpose, *_state(extra, report.packages)) for extra, purpose in purposes().items()]
    print_table("Targets", ("target", "state", "missing"), rows)
    for clash in report.clashes:
        print_table("Clash", ("packages", "harm", "remedy"), [(", ".join(clash.packages), clash.harm, clash.remedy)])
    for line in report.remedies():
        note(line)


def _once(packages: Iterable[Package]) -> list[Package]:
    """The first of those with the same name and range."""
    found: dict[tuple[str, str], Package] = {}
    for package in packages:
        found.setdefault((package.name, package.wanted), package)
    return list(found.values())


def _range(wanted: str) -> str:
    """Formats a range of versions, its lower end first."""
    return ", ".join(sorted(wanted.split(","), key=lambda one: one.startswith("<"))) or "-"


def _state(extra: str, packages: Iterable[Package]) -> tuple[str, str]:
    """State of what an extra is for, and the packages that are missing, with those that exporting needs beside it."""
    faulty = [p for p in packages if p.extra in needed(extra) and p.state != "ok"]
    if not faulty:
        return "ready", "-"
    extras = ",".join(dict.fromkeys(p.extra for p in faulty))
    is_there = all(p.extra != extra for p in faulty)
    state = f"{'bundles run; to export, ' if is_there else ''}run: {install_command(extras)}"
    return state, ", ".join(dict.fromkeys(p.name for p in faulty))

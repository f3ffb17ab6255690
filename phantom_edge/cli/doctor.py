"""``phantom-edge doctor``: installed packages, clashes, and what each target lacks."""

from typing import Annotated

import typer

from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table
from phantom_edge.cli.installed import Report, examine, purposes
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
    found = report.packages
    print_table(
        "Packages",
        ("package", "extra", "required", "installed", "state"),
        [(p.name, p.extra, p.wanted or "-", p.installed or "-", p.state) for p in found],
    )
    rows = []
    for extra, purpose in purposes().items():
        lacking = [p.name for p in found if p.extra == extra and p.state != "ok"]
        rows.append(
            (
                purpose,
                "ready" if not lacking else f"run: {install_command(extra)}",
                ", ".join(lacking) or "-",
            )
        )
    print_table("Targets", ("target", "state", "missing"), rows)
    for clash in report.clashes:
        print_table("Clash", ("packages", "harm", "remedy"), [(", ".join(clash.packages), clash.harm, clash.remedy)])
    for line in report.remedies():
        note(line)

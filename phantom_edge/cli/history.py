"""``phantom-edge history``: the user's earlier profiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table
from phantom_edge.cli.help import Command, Group
from phantom_edge.cli.report import MarginOption, check_file, show_table

if TYPE_CHECKING:
    from phantom_edge.profile.history import Entry

LAST = 20
LARGEST = 2**63 - 1
"""Largest number that the history's file holds."""


def _number(metavar: str, what: str) -> Any:
    return typer.Argument(metavar=metavar, min=1, help=f"Number of the {what} in phantom-edge history.")


Number = Annotated[int, _number("ID", "profile")]

app = typer.Typer(cls=Group, help="List and compare earlier profiles.")


@app.callback(invoke_without_command=True)
@friendly
def history(
    context: typer.Context,
    bundle: Annotated[str | None, typer.Option(help="Only profiles of bundles with this name.")] = None,
    device: Annotated[str | None, typer.Option(help="Only profiles of devices with this name.")] = None,
    last: Annotated[int, typer.Option(min=1, help="Maximum number of profiles to list.")] = LAST,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """List the profiles on this machine, newest first."""
    if context.invoked_subcommand is not None:
        return
    from phantom_edge.foundation.typed import to_json
    from phantom_edge.profile.history import history as open_history

    with open_history(note) as kept:
        entries = kept.entries(bundle, device, min(last, LARGEST))
    if json:
        print_json(to_json(entries))
        return
    print_table(
        "Profiles",
        (
            "id",
            "when",
            "device",
            "bundle",
            "target",
            "weights",
            "first token, ms",
            "tokens/s",
            "peak, MB",
        ),
        [_row(entry) for entry in entries],
        None if entries else "none yet; make one: phantom-edge profile BUNDLE",
    )


def _row(entry: "Entry") -> tuple[str, ...]:
    return (
        str(entry.id),
        entry.moment,
        entry.device,
        f"{entry.bundle} (partial)" if entry.partial else entry.bundle,
        entry.target,
        entry.weights,
        "-" if entry.first_token is None else f"{1e3 * entry.first_token:,.2f}",
        "-" if entry.tokens_per_second is None else f"{entry.tokens_per_second:,.1f}",
        "-" if entry.peak_bytes is None else f"{entry.peak_bytes / 1e6:,.1f}",
    )


@app.command("show", cls=Command)
@friendly
def show(
    number: Number,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output file; default: stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the profile at --out.")] = False,
) -> None:
    """Print a profile as JSON, or write it to a file."""
    from phantom_edge.foundation.typed import to_json
    from phantom_edge.profile.history import history as open_history
    from phantom_edge.profile.result import write_run

    check_file(out, [], force)
    with open_history(note) as kept:
        run = kept.run(min(number, LARGEST))
    if out is None:
        print_json(to_json(run))
    else:
        write_run(out, run)
        note(f"wrote {out}")


@app.command("compare", cls=Command)
@friendly
def compare(
    first: Annotated[int, _number("FIRST", "profile to compare with")],
    later: Annotated[int, _number("LATER", "profile to judge")],
    margin: Annotated[float, MarginOption] = 0.03,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Compare two profiles stage by stage: slower, faster, or no difference shown."""
    from phantom_edge.foundation.typed import to_json
    from phantom_edge.profile.history import history as open_history
    from phantom_edge.profile.report.compare import compare as compare_runs
    from phantom_edge.profile.report.tables import compared

    with open_history(note) as kept:
        comparison = compare_runs(kept.run(min(first, LARGEST)), kept.run(min(later, LARGEST)), margin)
    if json:
        print_json({"first": first, "later": later, "margin": margin, **to_json(comparison)})
        return
    for line in comparison.unlike:
        note(f"not the same: {line}")
    if comparison.alone:
        note(f"measured in one run only: {'; '.join(comparison.alone)}")
    if comparison.unjudged:
        note(f"too few repeats to be judged: {'; '.join(comparison.unjudged)}")
    show_table(compared(comparison, f"Run {later} beside run {first}", margin))


@app.command("remove", cls=Command)
@friendly
def remove(number: Number) -> None:
    """Delete a profile."""
    from phantom_edge.profile.history import history as open_history

    with open_history(note) as kept:
        kept.remove(min(number, LARGEST))
    note(f"deleted run {number}")

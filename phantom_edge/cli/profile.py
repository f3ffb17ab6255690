"""``phantom-edge profile``: times, memory and energy of a bundle on a device."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge import api
from phantom_edge.cli.choices import BUNDLE
from phantom_edge.cli.console import INTERRUPTED, JsonOption, friendly, note, print_json, print_table, tasks
from phantom_edge.cli.report import check_file
from phantom_edge.foundation.errors import EdgeError

if TYPE_CHECKING:
    from phantom_edge.profile.result import Run


@friendly
def profile(
    bundle: Annotated[Path, typer.Argument(help=BUNDLE)],
    device: Annotated[
        str,
        typer.Option(
            help="Device: host (this machine); ssh://user@host, a machine with phantom-edge (with port and Python: "
            "ssh://user@host:22/bin/python3); android:SERIAL, an adb device with the demo app (CPU only); or, on a "
            "Mac, ios:UDID/APP, an iPhone with an app that holds the runner."
        ),
    ] = "host",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output file, JSON.")] = None,
    repeats: Annotated[int, typer.Option(help="Number of repeats of each stage after its first call.")] = 5,
    tokens: Annotated[int, typer.Option(help="Number of tokens per answer.")] = 16,
    threads: Annotated[int, typer.Option(help="Number of threads; 0: the runtime chooses.")] = 0,
    depth: Annotated[
        list[int] | None, typer.Option(help="Cache length at which to time single tokens; repeatable.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Picture for the questions; default: a plain one.")] = None,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators/--no-operators",
            help="Run the runtime's own profiler in a separate pass: time by place in the model.",
        ),
    ] = True,
    apk: Annotated[
        Path | None,
        typer.Option("--apk", help="Demo app to install on an Android phone first; default: the one that is there."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the profile at --out.")] = False,
    history: Annotated[bool, typer.Option("--history/--no-history", help="Add the profile to the history.")] = True,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Measure a bundle on a device, stage by stage: cold and warm, at several lengths of the cache.

    An interrupted run keeps its results, marked as partial.
    """
    from phantom_edge.profile.measure.lines import STOPPED
    from phantom_edge.profile.result import write_run

    check_file(out, [], force)
    with tasks() as begin:
        run = api.profile_bundle(
            bundle,
            device=device,
            repeats=repeats,
            tokens=tokens,
            threads=threads,
            depths=depth or (),
            image=image,
            operators=operators,
            apk=apk,
            progress=begin,
        )
    unwritten = None
    if out is not None:
        try:
            write_run(out, run)
            note(f"wrote {out}")
        except EdgeError as error:  # what was measured is shown, and kept in the history, all the same
            unwritten = error
    if json:
        from phantom_edge.foundation.typed import to_json

        print_json(to_json(run))
    else:
        show(run)
    earlier = _keep(run) if history else []
    if not run.partial:
        _check_plan(run, earlier, quietly=json)
    if run.partial:
        note(run.partial)
    if unwritten is not None:
        raise unwritten
    if run.partial:
        raise typer.Exit(INTERRUPTED if run.partial == STOPPED else 1)


def _keep(run: "Run") -> "list[Run]":
    """Adds a profile to the history and returns earlier ones like it.

    A history that cannot be written is no failure: the profile was shown.
    """
    from phantom_edge.profile.history import history as open_history

    try:
        with open_history(note) as kept:
            earlier = kept.alike(run)
            number = kept.record(run)
    except EdgeError as error:
        note(f"not kept in the history: {error.problem}")
        note(f"  {error.remedy}; or add --no-history")
        return []
    note(f"run {number} of the history; see all: phantom-edge history")
    return earlier


def _check_plan(run: "Run", earlier: "list[Run]", *, quietly: bool) -> None:
    """Prints the planner's error on this profile, calibrated by ``earlier`` ones."""
    from phantom_edge.cli.plan import show_missed
    from phantom_edge.export.targets import TARGETS
    from phantom_edge.profile.plan.inputs import check_predictions

    missed = check_predictions(run, TARGETS, earlier)
    if not missed:
        return
    if not quietly:
        show_missed(missed, len(earlier))
    off = median(abs(one.error) for one in missed)
    by = f"calibrated by {len(earlier)} earlier" if earlier else "not calibrated by any"
    note(f"phantom-edge plan, {by}: {off:.0%} off (median of {len(missed)} predictions)")


def show(run: "Run") -> None:
    """Prints the tables of a profile."""
    from phantom_edge.profile.report import operator_tables, tables

    for table in (
        tables.floor(run),
        tables.times(run),
        tables.speeds(run),
        tables.drafts(run),
        operator_tables.places(run),
    ):
        if table.rows:
            title = f"{table.title}: {run.subject.bundle} on {run.device.name}"
            print_table(title, table.columns, table.rows, table.note or None)
    if run.untold:
        note(f"no times within a step: {run.untold}")
    if run.answers:
        first, apart = run.seconds_to_first_token, median(answer.accounted_share for answer in run.answers)
        asked = f"median of {len(run.answers):,} questions"
        note(f"first token after {1e3 * (first or 0):,.1f} ms ({asked}); stages account for {apart:.1%} of their time")
    if run.peak_bytes:
        weights = run.subject.vision_bytes + run.subject.decoder_bytes
        note(f"peak resident memory {run.peak_bytes / 1e6:,.0f} MB, of which weights {weights / 1e6:,.0f} MB")

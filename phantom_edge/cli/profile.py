"""``phantom-edge profile``: how fast a bundle is on a device, and how much of what the device could do that is."""

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table, tasks
from phantom_edge.cli.report import check_file
from phantom_edge.foundation.errors import EdgeError

if TYPE_CHECKING:
    from phantom_edge.profile.result import Run


@friendly
def profile(
    bundle: Annotated[Path, typer.Argument(help="Folder that phantom-edge export wrote.")],
    device: Annotated[
        str,
        typer.Option(
            help="Where: host, this machine; ssh://user@host, such as a board with phantom-edge on it; a port "
            "and the path of its Python may follow: ssh://user@host:22/opt/venv/bin/python; android:SERIAL, a "
            "phone that adb knows: its CPU, by ONNX Runtime, with what phantom-edge kit makes; or, on a Mac, "
            "ios:UDID/APP, an app there that holds what measures."
        ),
    ] = "host",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File for the profile, JSON.")] = None,
    repeats: Annotated[int, typer.Option(help="How often each stage is measured after its first time.")] = 5,
    tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 16,
    threads: Annotated[int, typer.Option(help="Threads; 0 lets the runtime choose.")] = 0,
    depth: Annotated[
        list[int] | None, typer.Option(help="Cached tokens at which single ones are timed; may be given again.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to ask about, instead of a plain one.")] = None,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators/--no-operators",
            help="Ask the runtime's own profiler, in a pass of its own, which places in the model take the time.",
        ),
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Overwrite --out.")] = False,
    history: Annotated[
        bool, typer.Option("--history/--no-history", help="Keep it in the user's history of profiles.")
    ] = True,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Measure a bundle on a device, stage by stage: cold and warm, at several lengths of the cache.

    Interrupted, what was measured is kept, and says that it is not all.
    """
    from phantom_edge.profile.devices.transports import profile_on
    from phantom_edge.profile.measure.stages import Wish
    from phantom_edge.profile.result import write_run

    check_file(out, [], force)
    wish = Wish(repeats, tokens, threads, tuple(depth or ()), image=image, operators=operators)
    with tasks() as begin:
        run = profile_on(device, bundle, wish, begin)
    if out is not None:
        write_run(out, run)
        note(f"wrote {out}")
    if json:
        from phantom_edge.foundation.typed import to_json

        print_json(to_json(run))
    else:
        show(run)
    earlier = _keep(run) if history else []
    if not run.partial:
        _foretell(run, earlier, quietly=json)
    if run.partial:
        note(run.partial)
        raise typer.Exit(1)


def _keep(run: "Run") -> "list[Run]":
    """In the history; those that it is like there.

    A history that takes nothing is no reason to fail, since the profile was shown.
    """
    from phantom_edge.profile.history import history as open_history

    try:
        with open_history() as kept:
            earlier = kept.alike(run)
            number = kept.record(run)
    except EdgeError as error:
        note(f"not kept in the history: {error.problem}\n  {error.remedy}; or add --no-history")
        return []
    note(f"run {number} of the history; see all: phantom-edge history")
    return earlier


def _foretell(run: "Run", earlier: "list[Run]", *, quietly: bool) -> None:
    """How far the planner would have been off, as ``earlier`` profiles calibrate it."""
    from phantom_edge.cli.plan import show_missed
    from phantom_edge.export.targets import TARGETS
    from phantom_edge.profile.plan.inputs import foretold

    missed = foretold(run, TARGETS, earlier)
    if not missed:
        return
    if not quietly:
        show_missed(missed, len(earlier))
    off = median(abs(one.error) for one in missed)
    by = f"calibrated by {len(earlier)} earlier" if earlier else "not calibrated by any"
    note(f"foretold by phantom-edge plan, {by}: {off:.0%} off in the middle of {len(missed)} numbers")


def show(run: "Run") -> None:
    """The tables of a profile."""
    from phantom_edge.profile.report import operator_tables, tables

    for table in (tables.floor(run), tables.times(run), tables.speeds(run), operator_tables.places(run)):
        if table.rows:
            title = f"{table.title}: {run.subject.bundle} on {run.device.name}"
            print_table(title, table.columns, table.rows, table.note or None)
    if run.untold:
        note(f"where the time goes inside of a step is not told: {run.untold}")
    if run.answers:
        first, apart = run.seconds_to_first_token, median(answer.accounted_share for answer in run.answers)
        note(f"first token after {1e3 * (first or 0):,.1f} ms; stages account for {apart:.1%} of an answer's time")
    if run.peak_bytes:
        weights = run.subject.vision_bytes + run.subject.decoder_bytes
        note(f"{run.peak_bytes / 1e6:,.0f} MB resident at most, of which weights are {weights / 1e6:,.0f} MB")

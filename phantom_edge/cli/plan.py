"""``phantom-edge plan``: bundles that would keep limits on a device, before any is exported."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge.cli.console import JSON_HELP, friendly, note, print_json, print_table, visible
from phantom_edge.foundation.errors import UsageError

if TYPE_CHECKING:
    from phantom_edge.profile.devices.table import Entry
    from phantom_edge.profile.plan.fitting import Missed
    from phantom_edge.profile.plan.predict import Range
    from phantom_edge.profile.plan.search import Plan, Predicted

SECONDS = {"s": 1.0, "ms": 1e-3, "": 1.0}
BYTES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30}


@friendly
def list_devices(context: typer.Context, wanted: bool) -> None:
    """Print the known devices with their numbers, and end."""
    if not wanted:
        return
    from phantom_edge.foundation.typed import to_json
    from phantom_edge.profile.devices.table import read_table

    found = read_table(context.params["device_file"]).devices
    if context.params["json"]:
        print_json({name: to_json(entry) for name, entry in found.items()})
        raise typer.Exit
    print_table(
        "Devices",
        ("device", "targets", "memory, GB", "bandwidth, GB/s", "rates"),
        [
            (
                name,
                ", ".join(entry.targets),
                "unknown" if entry.room is None else f"{entry.room.value:g}",
                "unknown" if entry.bandwidth is None else f"{entry.bandwidth.value:g}",
                ", ".join(entry.peaks) or "unknown",
            )
            for name, entry in found.items()
        ],
        "memory: what an app may use, or else all; rates: processors whose speed a source has. Times of others are "
        "unknown until a profile is given (--calibrate). host: this machine, measured now",
    )
    raise typer.Exit


@friendly
def plan(
    model: Annotated[str, typer.Argument(help="Known size (phantom-edge models), checkpoint folder or hub id.")],
    device: Annotated[
        str, typer.Option(help="Device, for example pixel-9, iphone-16-pro or jetson-orin-nano; host: this machine.")
    ],
    ttft: Annotated[str | None, typer.Option(help="Maximum time to first token (for example 800ms).")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(help="Minimum decode speed, tokens/s, at full context.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Maximum memory (for example 1.5GB).")] = None,
    tiles: Annotated[
        int | None, typer.Option(help="Maximum number of tiles per picture; default: tries several.")
    ] = None,
    prompt: Annotated[int, typer.Option(help="Number of text tokens in a question.")] = 64,
    context: Annotated[
        int | None, typer.Option(help="Cache size, tokens; default: the least that holds a question and its answer.")
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="Phantom rank; default: the usual one, or full."),
    ] = None,
    calibrate: Annotated[
        list[Path] | None, typer.Option(help="Profile of the device, by phantom-edge profile; repeatable.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare predictions with this profile instead of planning.")
    ] = None,
    tokens_per_step: Annotated[
        float | None,
        typer.Option(help="Tokens a step of a draft layer, by train draft: predicts the speed of long answers."),
    ] = None,
    device_file: Annotated[
        Path | None, typer.Option("--device-file", help="TOML file with further devices.", is_eager=True)
    ] = None,
    devices: Annotated[
        bool,
        typer.Option(
            "--devices",
            callback=list_devices,  # not eager: it comes after --device-file and --json, and before what is missing
            help="List the devices, with those of --device-file, and exit.",
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", is_eager=True, help=JSON_HELP)] = False,
) -> None:
    """List the bundles that would keep limits on a device, with predictions and export commands.

    Times and memory follow from counted bytes and multiply-adds. Without profiles of the device they are wide ranges.
    """
    from phantom_edge.export.targets import TARGETS
    from phantom_edge.profile.devices.table import read_table
    from phantom_edge.profile.plan.inputs import (
        check_predictions,
        checkpoint_of,
        device_of,
        factors_of,
        losses,
        size_named,
    )
    from phantom_edge.profile.plan.options import Wish
    from phantom_edge.profile.plan.search import plan as search
    from phantom_edge.profile.result import read_run

    wish = Wish(
        None if ttft is None else quantity(ttft, SECONDS, "--ttft", "0.8s or 800ms"),
        tokens_per_second,
        None if memory is None else quantity(memory, BYTES, "--memory", "1.5GB or 900MB"),
        tiles,
        context,
        prompt,
        tokens_per_step,
    )
    if rank is not None and rank < 0:
        raise UsageError(f"--rank is {rank}", "give 0 or more")
    table, size = read_table(device_file), size_named(model)
    runs = [read_run(path) for path in calibrate or []]
    if against is not None:
        judged = read_run(against)
        device_of(device, table, [judged], TARGETS)
        missed = check_predictions(judged, TARGETS, runs, table, (size,))
        if json:
            print_json({"missed": [_missed(one) for one in missed]})
        else:
            show_missed(missed, len(runs))
        return
    entry = device_of(device, table, runs, TARGETS)
    factors = factors_of(entry, table, runs, TARGETS, (size,))
    found = search(size, entry, wish, factors, losses(), TARGETS, rank)
    if json:
        print_json(document(found, checkpoint_of(model), entry, len(runs)))
    else:
        show(found, checkpoint_of(model), entry, len(runs))
    if not found.front:
        raise typer.Exit(1)


def quantity(text: str, units: dict[str, float], name: str, example: str) -> float:
    """Parses a number with its unit. Raises UsageError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)", text.strip())
    if found is None or found[2].lower() not in units:
        raise UsageError(f"{name} is '{text}'", f"give {example}")
    return float(found[1]) * units[found[2].lower()]


def show(found: "Plan", model: str, entry: "Entry", runs: int) -> None:
    """Prints the front as a table, with the commands below it."""
    print_table(
        f"{model} on {entry.label}",
        (
            "",
            "target",
            "weights",
            "tiles",
            "context",
            "chunk",
            "first token, s",
            "tokens/s",
            *(["drafted, tokens/s"] if _has_drafts(found) else []),
            "memory, MB",
            "disk, MB",
            "lost, points",
            *(["limits"] if found.limits else []),
        ),
        [_row(number, one, found) for number, one in enumerate(found.front, 1)],
        f"{found.looked_at:,} bundles examined"
        + (f", {found.kept:,} keep the limits or may keep them" if found.limits else "")
        + "; the best trade-offs are shown. "
        + ("May keep: the worse end of the prediction breaks that limit, or it is unknown. " if found.limits else "")
        + "Lost: estimate and upper bound, measured on phantom-nano",
    )
    for number, one in enumerate(found.front, 1):
        typer.echo(visible(f"{number}: {one.choice.command(model, entry, found.rank)}"))
    _print_notes(found, model, entry, runs)


def _has_drafts(found: "Plan") -> bool:
    return any(one.drafted is not None for one in found.front)


def _print_notes(found: "Plan", model: str, entry: "Entry", runs: int) -> None:
    for limit, count in found.dropped.items():
        note(f"{count:,} of {found.looked_at:,} dropped by {limit} ({_limit(limit, found.limits[limit])})")
    for limit, count in found.unknown.items():
        note(
            f"{limit} ({_limit(limit, found.limits[limit])}) cannot be predicted for {entry.label}: "
            f"{count:,} bundles may keep it"
        )
    if found.nearest is not None:
        near = found.nearest
        note(
            f"nothing keeps all limits; the nearest breaks {near.limit} "
            f"({_limit(near.limit, found.limits[near.limit])}) {near.times:.2f} times over: "
            f"{near.predicted.choice.command(model, entry, found.rank)}"
        )
    if entry.missing:
        note(f"no source was found for: {', '.join(entry.missing)} of {entry.label}")
    if not runs:
        note("uncalibrated: give profiles of this device for narrower ranges: --calibrate RUN.json")
    elif not all(one.is_calibrated for one in found.front):
        note("some of these weights are in none of the profiles: their ranges are uncalibrated")


def _row(number: int, one: "Predicted", found: "Plan") -> tuple[str, ...]:
    from phantom_edge.profile.plan.search import at_risk

    risky = at_risk(one, found.limits)
    choice = one.choice
    weights = choice.option.weights + ("" if choice.cache == "float" else f", {choice.cache} cache")
    return (
        f"{number}",
        choice.target + ("" if choice.option.compute == "auto" else f" {choice.option.compute}"),
        weights,
        f"{choice.tiles}",
        f"{choice.context:,}",
        f"{choice.chunk}",
        between(one.ttft),
        between(one.tokens_per_second),
        *([between(one.drafted) if one.drafted is not None else "-"] if _has_drafts(found) else []),
        between(one.memory.times(1e-6)),
        f"{one.disk_bytes / 1e6:,.0f}",
        "unknown" if one.lost is None else f"{one.lost.points:.1f}, {one.lost.most:.1f}",
        *([f"may keep {', '.join(risky)}" if risky else "keeps"] if found.limits else []),
    )


def between(value: "Range | None") -> str:
    """Formats a range."""
    if value is None:
        return "unknown"
    low, high = (f"{one:,.3g}" if one < 1000 else f"{one:,.0f}" for one in (value.low, value.high))
    return low if low == high else f"{low} to {high}"


def _limit(limit: str, value: float) -> str:
    units = {"ttft": f"at most {value:g} s", "memory": f"at most {value / 1e6:,.0f} MB"}
    return units.get(limit, f"at least {value:g} a second")


def show_missed(missed: "list[Missed]", runs: int) -> None:
    """Prints predictions beside measurements."""
    by = f"calibrated by {runs} profile{'s' * (runs > 1)}" if runs else "uncalibrated"
    print_table(
        "Predicted and measured",
        ("what", "predicted", "from", "to", "measured", "error", "within"),
        [_beside(one) for one in missed],
        f"from, to: range of the prediction; error: of its middle; {by}",
    )


def _beside(one: "Missed") -> tuple[str, ...]:
    """A row of predictions beside measurements: memory in MB, times in milliseconds."""
    is_memory = one.what == "memory, bytes"
    name, unit, digits = ("memory, MB", 1e-6, 0) if is_memory else (f"{one.what}, ms", 1e3, 3)
    numbers = (one.predicted.middle, one.predicted.low, one.predicted.high, one.took)
    cells = (f"{unit * value:,.{digits}f}" for value in numbers)
    return (name, *cells, f"{one.error:+.0%}", "yes" if one.is_within else "no")


def _missed(one: "Missed") -> dict[str, Any]:
    from phantom_edge.foundation.typed import to_json

    return {**to_json(one), "error": one.error, "is_within": one.is_within}


def document(found: "Plan", model: str, entry: "Entry", runs: int) -> dict[str, Any]:
    """Returns the document of ``--json``."""
    from phantom_edge.foundation.typed import to_json
    from phantom_edge.profile.plan.search import at_risk

    def described(one: "Predicted") -> dict[str, Any]:
        at = at_risk(one, found.limits)
        return {**to_json(one), "command": one.choice.command(model, entry, found.rank), "at_risk": at}

    near = found.nearest
    return {
        "device": entry.label,
        "missing": list(entry.missing),
        "calibrated_by": runs,
        "looked_at": found.looked_at,
        "kept": found.kept,
        "limits": found.limits,
        "dropped": found.dropped,
        "unknown": found.unknown,
        "front": [described(one) for one in found.front],
        "nearest": None
        if near is None
        else {"limit": near.limit, "times": near.times, "choice": described(near.predicted)},
    }

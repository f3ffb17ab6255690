"""What each place in the model takes of a step, as the runtime's own profiler found."""

from collections.abc import Iterator, Sequence
from statistics import median

from phantom_edge.export.places import ATTENTION, PHANTOM
from phantom_edge.profile.result import Group, Run

Places = dict[str, dict[str, float]]
"""By step, by place."""


def seconds_by_place(run: Run) -> Places:
    """Seconds, the longest first."""
    found: Places = {}
    for one in run.operators:
        places = found.setdefault(one.part, {})
        places[one.group] = places.get(one.group, 0.0) + one.seconds
    return {part: dict(sorted(places.items(), key=lambda pair: -pair[1])) for part, places in found.items()}


def share_of(run: Run, one: Group) -> float:
    """Of all operators of its step."""
    whole = sum(other.seconds for other in run.operators if other.part == one.part)
    return one.seconds / whole if whole else 0.0


def shares_by_place(run: Run) -> Places:
    """Of all operators of a step."""
    found = seconds_by_place(run)
    return {
        part: {place: seconds / (sum(places.values()) or 1.0) for place, seconds in places.items()}
        for part, places in found.items()
    }


def accounted(run: Run) -> dict[str, float]:
    """Of the same steps without the profiler, the share that their operators make up; the rest is the runtime's."""
    plain = {part: seconds for part, seconds in _without_profiler(run) if seconds > 0}
    return {part: sum(places.values()) / plain[part] for part, places in seconds_by_place(run).items() if part in plain}


def _without_profiler(run: Run) -> Iterator[tuple[str, float]]:
    """Seconds of the steps that the profiler may see, too."""
    for stage in run.stages:
        if stage.warm and stage.name == "vision":
            yield "vision, a tile", median(stage.warm)
        if stage.warm and stage.name == "prefill":
            yield f"prefill, {stage.units} tokens", median(stage.warm)
    for depth in run.depths:
        yield f"a token behind {depth.context:,}", median(depth.seconds)


def cost_of_phantoms(run: Run) -> str:
    """What the phantom dimension takes of each step that has any, in words."""
    told = [
        f"{100 * places[PHANTOM]:.1f} % of {part} (attention {100 * places.get(ATTENTION, 0.0):.1f} %)"
        for part, places in shares_by_place(run).items()
        if PHANTOM in places
    ]
    if not told:
        return ""
    wider = f"; attention reads rows {run.widened:.2f} times as wide for it" if run.widened > 1 else ""
    return f"phantom maps: {_listed(told)}{wider}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

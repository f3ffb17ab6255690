"""Each place's share of a step's time, by the runtime's own profiler."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phantom_edge.bundle.node_names import ATTENTION, PHANTOM
from phantom_edge.profile.result import Run
from phantom_edge.runtime.tracing import TILE, chunk_named, token_named

HANDING = "in and out"
"""The row for time outside nodes: handing inputs, outputs and the cache to the runtime."""


@dataclass(frozen=True)
class Share:
    """A place's nodes in a step: seconds inside them, seconds with the runtime's overhead, and share of the step."""

    part: str
    place: str
    nodes: int
    inside: float
    seconds: float
    share: float


def shares_of(run: Run) -> list[Share]:
    """Shares by step, the longest first.

    Runtime overhead is the step's time without the profiler, less the time inside nodes and of handing over. It does
    not depend on a node's size, so it is divided evenly among nodes.
    """
    found: dict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
    for one in run.operators:
        nodes, inside = found[one.part].get(one.group, (0, 0.0))
        found[one.part][one.group] = nodes + one.calls, inside + one.seconds
    plain, outside = dict(_without_profiler(run)), {one.part: one.outside for one in run.traced}
    shares = []
    for part, places in found.items():
        nodes, inside = sum(nodes for nodes, _ in places.values()), sum(inside for _, inside in places.values())
        rest = max(plain.get(part, 0.0) - inside, 0.0)
        handing = min(outside.get(part, 0.0), rest)
        own = {place: inside + (rest - handing) * count / nodes for place, (count, inside) in places.items()}
        if handing:
            places, own = {**places, HANDING: (0, 0.0)}, {**own, HANDING: handing}
        whole = sum(own.values()) or 1.0
        ordered = sorted(own, key=lambda place: (-own[place], place))
        shares += [Share(part, place, *places[place], own[place], own[place] / whole) for place in ordered]
    return shares


def parts_of(shares: Sequence[Share]) -> dict[str, dict[str, Share]]:
    """Shares by step and place."""
    found: dict[str, dict[str, Share]] = {}
    for one in shares:
        found.setdefault(one.part, {})[one.place] = one
    return found


def accounted(run: Run) -> dict[str, float]:
    """Time inside nodes by step, relative to the step without the profiler."""
    plain = {part: seconds for part, seconds in _without_profiler(run) if seconds > 0}
    return {
        part: sum(one.inside for one in places.values()) / plain[part]
        for part, places in parts_of(shares_of(run)).items()
        if part in plain
    }


def _without_profiler(run: Run) -> Iterator[tuple[str, float]]:
    """Minimum seconds of the steps that the profiler covers: other load on the machine only adds."""
    for stage in run.stages:
        if stage.warm and stage.name == "vision":
            yield TILE, min(stage.warm)
        if stage.warm and stage.name == "prefill":
            yield chunk_named(stage.units), min(stage.warm)
    for depth in run.depths:
        yield token_named(depth.context), min(depth.seconds)


def cost_of_phantoms(run: Run) -> str:
    """Share of the phantom dimension in each step that has any, in words."""
    parts = [
        f"{places[PHANTOM].share:.1%} of {part} (attention {places[ATTENTION].share:.1%})"
        for part, places in parts_of(shares_of(run)).items()
        if PHANTOM in places and ATTENTION in places
    ]
    if not parts:
        return ""
    wider = f"; attention reads rows {run.widened:.2f} times as wide" if run.widened > 1 else ""
    return f"phantom maps: {_listed(parts)}{wider}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

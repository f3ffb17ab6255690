"""What each place in the model takes of a step, as the runtime's own profiler found."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phantom_edge.bundle.node_names import ATTENTION, PHANTOM
from phantom_edge.profile.result import Run
from phantom_edge.runtime.tracing import TILE, chunk_named, token_named

HANDING = "in and out"
"""What is no node: inputs, outputs and the cache are handed to the runtime."""


@dataclass(frozen=True)
class Share:
    """A place's nodes in a step: seconds inside of them, and with what the runtime takes around them; its share."""

    part: str
    place: str
    nodes: int
    inside: float
    seconds: float
    share: float


def shares_of(run: Run) -> list[Share]:
    """Step by step, the longest first.

    What the same step takes longer without the profiler than its nodes and its handing over, the runtime takes around
    nodes, and as much around a small one as around a large one: so each has an equal part of it.
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
    """By step, by place."""
    found: dict[str, dict[str, Share]] = {}
    for one in shares:
        found.setdefault(one.part, {})[one.place] = one
    return found


def accounted(run: Run) -> dict[str, float]:
    """Of the same steps without the profiler, the share inside of nodes."""
    plain = {part: seconds for part, seconds in _without_profiler(run) if seconds > 0}
    return {
        part: sum(one.inside for one in places.values()) / plain[part]
        for part, places in parts_of(shares_of(run)).items()
        if part in plain
    }


def _without_profiler(run: Run) -> Iterator[tuple[str, float]]:
    """Least seconds of the steps that the profiler may see, too: what else the machine does only adds."""
    for stage in run.stages:
        if stage.warm and stage.name == "vision":
            yield TILE, min(stage.warm)
        if stage.warm and stage.name == "prefill":
            yield chunk_named(stage.units), min(stage.warm)
    for depth in run.depths:
        yield token_named(depth.context), min(depth.seconds)


def cost_of_phantoms(run: Run) -> str:
    """What the phantom dimension takes of each step that has any, in words."""
    told = [
        f"{100 * places[PHANTOM].share:.1f} % of {part} (attention {100 * places[ATTENTION].share:.1f} %)"
        for part, places in parts_of(shares_of(run)).items()
        if PHANTOM in places and ATTENTION in places
    ]
    if not told:
        return ""
    wider = f"; attention reads rows {run.widened:.2f} times as wide for it" if run.widened > 1 else ""
    return f"phantom maps: {_listed(told)}{wider}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""Searches all bundles for a device: those within the limits, and of these the Pareto front."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log10
from typing import Literal

from phantom_edge.export.targets.count import Count
from phantom_edge.export.targets.target import Target
from phantom_edge.models.draft_shape import usual_shape
from phantom_edge.models.sizes import Size
from phantom_edge.profile.devices.table import Entry
from phantom_edge.profile.plan.counting import Counted, Form, activation_bytes, count
from phantom_edge.profile.plan.options import Choice, Wish, choices, with_thumbnail
from phantom_edge.profile.plan.predict import (
    Factors,
    Range,
    Rates,
    exactly,
    kind_of,
    least_decode,
    least_draft,
    least_prefill,
    least_vision,
    memory,
    rates_of,
    seconds,
)

Limit = Literal["ttft", "tokens-per-second", "memory"]


@dataclass(frozen=True)
class Lost:
    """Measured loss of a recipe in points of accuracy: the estimate, and the upper end of its interval."""

    points: float
    most: float


@dataclass(frozen=True)
class Predicted:
    """A choice with its predictions; None where the device's rates are unknown.

    ``drafted`` are tokens/s of long answers with a draft layer; None where there is none.
    """

    choice: Choice
    ttft: Range | None
    tokens_per_second: Range | None
    memory: Range
    disk_bytes: int
    lost: Lost | None
    is_calibrated: bool
    drafted: Range | None = None

    def of(self, limit: Limit) -> Range | None:
        """Returns the prediction that a limit bounds."""
        return {"ttft": self.ttft, "tokens-per-second": self.tokens_per_second, "memory": self.memory}[limit]


@dataclass(frozen=True)
class Nearest:
    """Where no choice keeps all limits: the choice that exceeds them least, and its worst limit."""

    limit: Limit
    times: float
    predicted: Predicted


@dataclass(frozen=True)
class Plan:
    """The front, and the numbers of choices examined, kept, and dropped by each limit.

    ``unknown`` counts kept ones for which a limit's number cannot be predicted: the device may keep it, or not.

    ``rank`` is the requested phantom rank.
    """

    front: tuple[Predicted, ...]
    looked_at: int
    kept: int
    dropped: dict[Limit, int]
    unknown: dict[Limit, int]
    nearest: Nearest | None
    limits: dict[Limit, float] = field(default_factory=dict)
    rank: int | None = None


def predict(
    size: Size,
    entry: Entry,
    choice: Choice,
    wish: Wish,
    factors: Factors,
    lost: Mapping[str, Lost],
    rank: int | None,
    target: Target,
) -> Predicted:
    """Predicts time, memory and size of a choice."""
    option = choice.option
    counted_as = target if option.count is None else replace(target, count=option.count)
    form = Form(size, counted_as, option.weights, choice.context, choice.cache, rank)
    counted = count(form)
    rates = rates_of(entry, target, choice.option.weights, choice.option.compute)
    weights = choice.option.weights
    tokens = wish.prompt + with_thumbnail(choice.tiles) * size.tokens_per_tile
    vision = seconds(
        least_vision(counted, rates), factors.of("vision", kind_of("vision", weights)), counted.vision_layers
    )
    filling = [
        seconds(
            least_prefill(counted, rates, start, new),
            factors.of("prefill", kind_of("prefill", weights)),
            counted.layers,
        )
        for start, new in chunks(choice, tokens, counted_as.count)
    ]
    step = seconds(
        least_decode(counted, rates, choice.context), factors.of("decode", kind_of("decode", weights)), counted.layers
    )
    return Predicted(
        choice,
        ttft=None if vision is None else _sum([vision.times(with_thumbnail(choice.tiles)), *filling]),
        tokens_per_second=None if step is None else step.inverse(),
        memory=memory(counted, factors, choice.context, activation_bytes(form, choice.chunk)),
        disk_bytes=counted.disk_bytes,
        lost=lost.get(_measured_as(choice)),
        is_calibrated=factors.runs > 0 and factors.covers(weights),
        drafted=None if not target.drafts else _drafted(size, counted, rates, choice, wish, factors, step),
    )


def _drafted(
    size: Size, counted: Counted, rates: Rates, choice: Choice, wish: Wish, factors: Factors, step: Range | None
) -> Range | None:
    """Tokens/s with a draft layer: a step takes the longer of a token's time and that of a chunk, and the draft's."""
    if wish.tokens_per_step is None or step is None:
        return None
    shape, weights = usual_shape(size.hidden, size.vocab, size.rms_eps), choice.option.weights
    rows = least_prefill(counted, rates, choice.context, shape.steps + 1)
    chunk = seconds(rows, factors.of("prefill", kind_of("prefill", weights)), counted.layers)
    draft = seconds(least_draft(shape, rates), factors.of("decode", "float"), shape.steps)
    if chunk is None or draft is None:
        return None
    return (step.at_least(chunk) + draft).inverse().times(wish.tokens_per_step)


def chunks(choice: Choice, tokens: int, kind: Count) -> list[tuple[int, int]]:
    """Cached tokens before each chunk of a prompt, and its tokens. Graphs of fixed shapes always compute both whole."""
    found = [(start, min(choice.chunk, tokens - start)) for start in range(0, tokens, choice.chunk)]
    if not kind.fixed:
        return found
    sizes = (*kind.firsts(choice.context), choice.context)
    reached = [next((rows for rows in sizes if start + new <= rows), choice.context) for start, new in found]
    return [(rows - choice.chunk, choice.chunk) for rows in reached]


def _measured_as(choice: Choice) -> str:
    return choice.option.weights + (", int8 cache" if choice.cache == "int8" else "")


def _sum(parts: Sequence[Range | None]) -> Range | None:
    total = exactly(0.0)
    for part in parts:
        if part is None:
            return None
        total = total + part
    return total


def limits_of(entry: Entry, wish: Wish) -> dict[Limit, float]:
    """Limits to keep: those requested, and the memory that the device has for an app."""
    room = [value for value in (wish.memory, None if entry.room is None else entry.room.plain) if value is not None]
    found: dict[Limit, float | None] = {
        "ttft": wish.ttft,
        "tokens-per-second": wish.tokens_per_second,
        "memory": min(room) if room else None,
    }
    return {limit: value for limit, value in found.items() if value is not None}


def broken(predicted: Predicted, limits: Mapping[Limit, float]) -> dict[Limit, float]:
    """Limits that the middle of the prediction breaks, and by what factor. A limit on the unknown breaks nothing."""
    found: dict[Limit, float] = {}
    for limit, value in limits.items():
        expected = predicted.of(limit)
        if expected is not None:
            times = value / expected.middle if limit == "tokens-per-second" else expected.middle / value
            if times > 1:
                found[limit] = times
    return found


def at_risk(predicted: Predicted, limits: Mapping[Limit, float]) -> list[Limit]:
    """Limits that the worse end of the prediction breaks."""
    found: list[Limit] = []
    for limit, value in limits.items():
        expected = predicted.of(limit)
        if expected is None or (expected.low < value if limit == "tokens-per-second" else expected.high > value):
            found.append(limit)
    return found


def objectives(predicted: Predicted) -> tuple[float, ...]:
    """Objectives to minimize, in two digits (predictions are no better): time, speed, memory, loss, tiles.

    The loss is the upper end of its interval, so that chance does not rank a recipe above floats.
    """
    speed, first = predicted.tokens_per_second, predicted.ttft
    return (
        inf if first is None else two_digits(first.middle),
        inf if speed is None else -two_digits(speed.middle),
        two_digits(predicted.memory.middle),
        inf if predicted.lost is None else round(max(predicted.lost.most, 0.0), 1),
        -float(predicted.choice.tiles),
    )


def two_digits(value: float) -> float:
    """Rounds to two significant digits."""
    return round(value, 1 - int(log10(abs(value)) // 1)) if value else 0.0


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """True where ``one`` is nowhere worse and somewhere better."""
    return one != other and all(first <= second for first, second in zip(one, other, strict=True))


def front_of(found: Sequence[Predicted]) -> list[Predicted]:
    """Choices that none dominates, fastest first; of equals, the fastest."""
    best: dict[tuple[float, ...], Predicted] = {}
    for one in found:
        key = objectives(one)
        if key not in best or _exact(one) < _exact(best[key]):
            best[key] = one
    kept = [one for key, one in best.items() if not any(dominates(other, key) for other in best)]
    return sorted(kept, key=_exact)


def _exact(one: Predicted) -> tuple[float, float]:
    return (inf if one.ttft is None else one.ttft.middle, one.memory.middle)


def plan(
    size: Size,
    entry: Entry,
    wish: Wish,
    factors: Mapping[str, Factors],
    lost: Mapping[str, Lost],
    targets: Mapping[str, Target],
    rank: int | None = None,
) -> Plan:
    """Predicts every choice and returns the front. Raises EdgeError where nothing can be exported."""
    found = [
        predict(size, entry, choice, wish, factors[choice.target], lost, rank, targets[choice.target])
        for choice in choices(size, entry, wish, targets)
    ]
    limits = limits_of(entry, wish)
    breaches = [broken(one, limits) for one in found]
    kept = [one for one, breach in zip(found, breaches, strict=True) if not breach]
    dropped = Counter(limit for breach in breaches for limit in breach)
    unknown = Counter(limit for one in kept for limit in limits if one.of(limit) is None)
    return Plan(
        front=tuple(front_of(kept)),
        looked_at=len(found),
        kept=len(kept),
        dropped=dict(dropped),
        unknown=dict(unknown),
        nearest=None if kept or not found else _nearest(found, breaches),
        limits=limits,
        rank=rank,
    )


def _nearest(found: Sequence[Predicted], breaches: Sequence[Mapping[Limit, float]]) -> Nearest:
    """Finds the choice whose worst breach is least."""
    worst = [max(breach.items(), key=lambda one: one[1]) for breach in breaches]
    number = min(range(len(worst)), key=lambda place: (worst[place][1], len(breaches[place])))
    limit, times = worst[number]
    return Nearest(limit, times, found[number])

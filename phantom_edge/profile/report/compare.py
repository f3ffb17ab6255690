"""Compares two profiles: the ratio of their times, and whether it exceeds chance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phantom_edge.profile.result import STAGES, Device, Run
from phantom_edge.runtime.tracing import token_named

LEVEL = 0.95
DRAWS = 10_000
SEED = 0
FEWEST = 5
"""Minimum number of repeats for an interval: the median lies between the minimum and the maximum of n with probability
1 - 2^(1 - n), so four could not reach 90 %."""

MARGIN = 0.03

STEADY = 1.15
"""Ratio of a device's measured bandwidth or peak between two runs above which the report warns of a different state."""

Verdict = Literal["slower", "faster", "no difference shown"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """One stage of two runs: medians in seconds, their ratio (later over first), and its interval where known."""

    what: str
    first: float
    later: float
    repeats: tuple[int, int]
    ratio: float
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """A later run compared with the first. ``unlike``: other differences; ``alone``: stages that only one has."""

    unlike: tuple[str, ...]
    alone: tuple[str, ...]
    stages: tuple[Difference, ...]

    @property
    def slower(self) -> list[str]:
        """Stages that became slower."""
        return [stage.what for stage in self.stages if stage.verdict == "slower"]

    @property
    def unjudged(self) -> list[str]:
        """Stages without a verdict: too few repeats, or a clock that stood still."""
        return [stage.what for stage in self.stages if stage.low is None]


def compare(first: Run, later: Run, margin: float = MARGIN) -> Comparison:
    """Compares the stages that both runs measured; ``margin`` is the relative change to treat as noise.

    The intervals cover the spread of repeats within a run, not what differs between runs (heat, other programs,
    memory layout): measure twice before believing a small difference (Kalibera and Jones, "Rigorous benchmarking
    in reasonable time", 2013).
    """
    before, after = dict(_samples(first)), dict(_samples(later))
    both = [what for what in before if what in after]
    return Comparison(
        unlike=tuple(_unlike(first, later)),
        alone=tuple(sorted(before.keys() ^ after.keys())),
        stages=tuple(difference(what, before[what], after[what], margin) for what in both),
    )


def _samples(run: Run) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Seconds of every repeat, by stage; the name of a chunk holds its size."""
    for name in STAGES:
        stage = run.stage(name)
        if stage is not None and stage.warm:
            yield (name if stage.units == 1 else f"{name}, {stage.units:,} at once"), stage.warm
    for depth in run.depths:
        yield token_named(depth.context), depth.seconds
    if run.answers:
        yield "first token of a question", tuple(answer.first_token for answer in run.answers)


def difference(what: str, first: Sequence[float], later: Sequence[float], margin: float = MARGIN) -> Difference:
    """Compares repeats (N,) with repeats (M,), in seconds.

    Exchanging them inverts the ratio and its interval, and turns slower into faster.
    """
    medians = float(np.median(first)), float(np.median(later))
    repeats = len(first), len(later)
    ratio = medians[1] / medians[0] if medians[0] else float(medians[0] != medians[1])
    if min(repeats) < FEWEST or min(*first, *later) <= 0:
        return Difference(what, *medians, repeats, ratio, None, None, "no difference shown")
    low, high = ratio_interval(np.asarray(first), np.asarray(later))
    verdict: Verdict = "no difference shown"
    if low > 1 + margin:
        verdict = "slower"
    elif high < 1 / (1 + margin):
        verdict = "faster"
    return Difference(what, *medians, repeats, ratio, low, high, verdict)


def ratio_interval(first: Floats, later: Floats) -> tuple[float, float]:
    """95 % interval of the ratio of medians, by the percentile bootstrap."""
    seeds = SEED, SEED + 1
    one, other = ([drawn_medians(values, np.random.default_rng(seed)) for seed in seeds] for values in (first, later))
    # both samples use both seeds, so that exchanging them inverts the interval exactly
    logs = np.log(np.concatenate([other[1] / one[0], other[0] / one[1]]))
    low, high = np.exp(np.quantile(logs, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return float(low), float(high)


def drawn_medians(values: Floats, random: np.random.Generator) -> Floats:
    """Medians (DRAWS,) of resamples of ``values`` (N,), without making the resamples.

    A resample is N uniform positions in the sorted values. Its median is the value at the middle position or the mean
    of the two middle ones, and positions of given ranks follow Beta distributions (David and Nagaraja, "Order
    Statistics", 2003, section 2.2). A million repeats cost no more than five.
    """
    ordered, count = np.sort(values), len(values)
    rank = (count + 1) // 2
    lower = random.beta(rank, count - rank + 1, DRAWS)
    upper = lower if count % 2 else lower + (1 - lower) * random.beta(1, count - rank, DRAWS)
    at_lower, at_upper = (ordered[np.minimum((place * count).astype(np.int64), count - 1)] for place in (lower, upper))
    medians: Floats = (at_lower + at_upper) / 2
    return medians


def _other_state(here: Device, there: Device) -> Iterator[str]:
    """Differences in the state of one device between two runs."""
    if here.system != there.system:
        yield f"different systems: {here.system} and {there.system}"
    for what, one, other in (
        ("GB/s of bandwidth", here.bandwidth, there.bandwidth),
        ("G multiply-adds a second", here.products, there.products),
    ):
        if one and other and max(one, other) > STEADY * min(one, other):
            rates = f"{one / 1e9:,.1f} and {other / 1e9:,.1f} {what} were measured"
            yield f"the device was busier or hotter one time: {rates}"


def _unlike(first: Run, later: Run) -> Iterator[str]:
    """Differences other than times, in words."""
    one, other = first.subject, later.subject
    if one.seal != other.seal:
        same = f", both named {one.bundle}" if one.bundle == other.bundle else f": {one.bundle} and {other.bundle}"
        yield f"different bundles{same}"
    for name in ("model", "fingerprint", "target", "weights", "threads"):
        if getattr(one, name) != getattr(other, name):
            yield f"different {name}: {getattr(one, name)} and {getattr(other, name)}"
    here, there = first.device, later.device
    if (here.kind, here.name, here.processor) != (there.kind, there.name, there.processor):
        yield f"different devices: {here.name} ({here.processor}) and {there.name} ({there.processor})"
    else:
        yield from _other_state(here, there)
    for tool in sorted(one.tools.keys() | other.tools.keys()):
        if one.tools.get(tool) != other.tools.get(tool):
            yield f"exported with different {tool}: {one.tools.get(tool, 'none')} and {other.tools.get(tool, 'none')}"
    for run, which in ((first, "first"), (later, "later")):
        if run.partial:
            yield f"the {which} run is partial: {run.partial}"

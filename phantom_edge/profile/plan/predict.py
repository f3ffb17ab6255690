"""How long a bundle will take, and how much memory: counted bytes and multiply-adds over what a device reaches.

A stage takes the longer of moving its bytes and multiplying, over the share of that rate which is reached, and a time
for every layer that no size tells. Shares are fitted from profiles; without any they are wide, and told as ranges.
"""

from dataclasses import dataclass, field
from math import sqrt

from phantom_edge.export.targets.target import PRECISIONS, Target
from phantom_edge.profile.devices.table import Entry, Shares, Stage
from phantom_edge.profile.plan.counting import Counted

STAGES: tuple[Stage, ...] = ("vision", "prefill", "decode")


@dataclass(frozen=True)
class Range:
    """A number that is known from ``low`` to ``high``, most likely about ``middle``."""

    low: float
    middle: float
    high: float

    @classmethod
    def between(cls, low: float, high: float) -> "Range":
        """The middle is as many times above the low end as below the high one."""
        return cls(low, sqrt(low * high), high)

    @classmethod
    def about(cls, middle: float, spread: float) -> "Range":
        """Up to ``1 + spread`` times as much, and as little."""
        return cls(middle / (1 + spread), middle, middle * (1 + spread))

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.middle + other.middle, self.high + other.high)

    def times(self, factor: float) -> "Range":
        """Scaled by what is not below 0."""
        return Range(self.low * factor, self.middle * factor, self.high * factor)

    def inverse(self) -> "Range":
        """One over it."""
        return Range(1 / self.high, 1 / self.middle, 1 / self.low)


def exactly(value: float) -> Range:
    """Counted, not estimated."""
    return Range(value, value, value)


@dataclass(frozen=True)
class Rates:
    """Bytes and multiply-adds a second; None where no source tells."""

    bandwidth: float | None
    products: float | None


@dataclass(frozen=True)
class Factor:
    """The share of a rate that a stage reaches, and seconds for every layer besides."""

    share: Range
    per_layer: float = 0.0


@dataclass(frozen=True)
class Factors:
    """Of a device and target: a factor by stage and kind of weights; weights in memory, and bytes besides.

    ``runs`` is how many profiles they were fitted from: 0 is uncalibrated. ``measured`` are the stages and kinds that
    those profiles had.
    """

    usual: dict[Stage, Factor]
    weights: Range
    runtime: Range
    runs: int = 0
    measured: dict[Stage, dict[str, Factor]] = field(default_factory=dict)

    def of(self, stage: Stage, kind: str) -> Factor:
        """Fitted where there was such a profile."""
        return self.measured.get(stage, {}).get(kind, self.usual[stage])

    def knows(self, kind: str) -> bool:
        """Whether every stage of such weights was fitted."""
        return all(kind_of(stage, kind) in self.measured.get(stage, {}) for stage in STAGES)


def kind_of(stage: Stage, weights: str) -> str:
    """What decides how fast weights are: float, int8, int4 or lut4; recipes of 4 bits look at pictures in 8."""
    if weights in (*PRECISIONS, "float"):
        return "float"
    if stage == "vision" or weights.startswith("int8"):
        return "int8"
    return "lut4" if weights.startswith("lut") else "int4"


def uncalibrated(shares: Shares) -> Factors:
    """Those of the table."""
    usual = {stage: Factor(Range.between(found.low, found.high)) for stage in STAGES for found in [shares.of(stage)]}
    weights, runtime = shares.weights, shares.runtime
    return Factors(
        usual, Range.between(weights.low, weights.high), Range.between(runtime.low * 1e6, runtime.high * 1e6)
    )


def rates_of(entry: Entry, target: Target, weights: str, compute: str = "auto") -> Rates:
    """What a device can do for weights of a kind."""
    processor = "gpu" if compute == "gpu" else target.processor
    is_float = kind_of("prefill", weights) == "float"
    kind = "fp16" if processor == "gpu" else "fp32" if is_float else "int8"
    peak = entry.peak(processor, kind)
    return Rates(None if entry.bandwidth is None else entry.bandwidth.plain, None if peak is None else peak.plain)


def least_vision(counted: Counted, rates: Rates) -> float | None:
    """Seconds of a tile at the full rate; None where that is unknown."""
    return _least(counted.work.vision_bytes, counted.work.vision_products + counted.look_products, rates)


def least_prefill(counted: Counted, rates: Rates, start: int, tokens: int) -> float | None:
    """Those of a chunk of ``tokens`` behind ``start`` cached ones; words are scored once."""
    work, head = counted.work, counted.head_products
    seen = tokens * start + tokens * tokens // 2
    products = tokens * (work.decoder_products - head) + head + seen * work.cache_products_per_token
    return _least(work.token_bytes(start), products, rates)


def least_decode(counted: Counted, rates: Rates, context: int) -> float | None:
    """Those of a token behind ``context`` cached ones: what it moves."""
    return None if rates.bandwidth is None else counted.work.token_bytes(context) / rates.bandwidth


def _least(size: int, products: int, rates: Rates) -> float | None:
    if rates.bandwidth is None or rates.products is None:
        return None
    return max(size / rates.bandwidth, products / rates.products)


def seconds(least: float | None, factor: Factor, layers: int) -> Range | None:
    """What a stage takes whose least is known; as uncertain as the share is, layers' own time among it."""
    if least is None:
        return None
    share = factor.share
    middle = least / share.middle + factor.per_layer * layers
    return share.inverse().times(middle * share.middle)


def memory(counted: Counted, factors: Factors, tokens: int, activations: int) -> Range:
    """Bytes at most, with so many tokens cached."""
    cached = tokens * counted.work.cache_bytes_per_token
    return factors.weights.times(counted.weight_bytes) + factors.runtime + exactly(cached + activations)

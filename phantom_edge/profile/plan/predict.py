"""Predicts time and memory of a bundle from counted bytes and multiply-adds and the rates of a device.

A stage takes the longer of moving its bytes and multiplying, over the share of that rate that is reached, and a fixed
time per layer. Shares are fitted from profiles; without profiles they are wide ranges.
"""

from dataclasses import dataclass, field
from math import sqrt

from phantom_edge.export.targets.target import PRECISIONS, Target
from phantom_edge.models.draft_shape import DraftShape
from phantom_edge.profile.devices.table import Entry, Shares, Stage
from phantom_edge.profile.plan.counting import Counted

STAGES: tuple[Stage, ...] = ("vision", "prefill", "decode")


@dataclass(frozen=True)
class Range:
    """A number between ``low`` and ``high``, most likely near ``middle``."""

    low: float
    middle: float
    high: float

    @classmethod
    def between(cls, low: float, high: float) -> "Range":
        """Returns a range whose middle is the geometric mean of its ends."""
        return cls(low, sqrt(low * high), high)

    @classmethod
    def about(cls, middle: float, spread: float) -> "Range":
        """Returns a range of a factor ``1 + spread`` up and down."""
        return cls(middle / (1 + spread), middle, middle * (1 + spread))

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.middle + other.middle, self.high + other.high)

    def at_least(self, other: "Range") -> "Range":
        """Returns the larger at each place."""
        return Range(max(self.low, other.low), max(self.middle, other.middle), max(self.high, other.high))

    def times(self, factor: float) -> "Range":
        """Returns the range scaled by a factor that is not negative."""
        return Range(self.low * factor, self.middle * factor, self.high * factor)

    def inverse(self) -> "Range":
        """Returns the reciprocal."""
        return Range(1 / self.high, 1 / self.middle, 1 / self.low)


def exactly(value: float) -> Range:
    """Returns a range without uncertainty, for counted numbers."""
    return Range(value, value, value)


@dataclass(frozen=True)
class Rates:
    """Bytes/s and multiply-adds/s; None where no source has them."""

    bandwidth: float | None
    products: float | None


@dataclass(frozen=True)
class Factor:
    """Share of a rate that a stage reaches, and additional seconds per layer."""

    share: Range
    per_layer: float = 0.0


@dataclass(frozen=True)
class Factors:
    """Factors of a device and target, by stage and kind of weights; memory per byte of weights, and further bytes.

    ``runs``: number of profiles in the fit, 0 for none. ``measured``: factors of the stages and kinds that they had.
    """

    usual: dict[Stage, Factor]
    weights: Range
    runtime: Range
    runs: int = 0
    measured: dict[Stage, dict[str, Factor]] = field(default_factory=dict)

    def of(self, stage: Stage, kind: str) -> Factor:
        """Returns the fitted factor, or the table's where there is none."""
        return self.measured.get(stage, {}).get(kind, self.usual[stage])

    def covers(self, kind: str) -> bool:
        """True where every stage of such weights was fitted."""
        return all(kind_of(stage, kind) in self.measured.get(stage, {}) for stage in STAGES)


def kind_of(stage: Stage, weights: str) -> str:
    """Kind of weights by speed: float, int8, int4 or lut4.

    4-bit recipes run vision in 8 bits, and with weights in two forms prompts, too.
    """
    if weights in (*PRECISIONS, "float"):
        return "float"
    is_bytes = weights.startswith("int8") or (stage == "prefill" and weights.endswith("exact8"))
    if stage == "vision" or is_bytes:
        return "int8"
    return "lut4" if weights.startswith("lut") else "int4"


def uncalibrated(shares: Shares) -> Factors:
    """Returns the table's factors."""
    usual = {stage: Factor(Range.between(found.low, found.high)) for stage in STAGES for found in [shares.of(stage)]}
    weights, runtime = shares.weights, shares.runtime
    return Factors(
        usual, Range.between(weights.low, weights.high), Range.between(runtime.low * 1e6, runtime.high * 1e6)
    )


def rates_of(entry: Entry, target: Target, weights: str, compute: str = "auto") -> Rates:
    """Rates of a device for a kind of weights."""
    processor = target.processor if compute == "auto" else compute
    is_float = kind_of("prefill", weights) == "float"
    kind = "fp16" if processor == "gpu" else "fp32" if is_float else "int8"
    peak = entry.peak(processor, kind)
    return Rates(None if entry.bandwidth is None else entry.bandwidth.plain, None if peak is None else peak.plain)


def least_vision(counted: Counted, rates: Rates) -> float | None:
    """Minimum seconds of a tile; None where the rate is unknown."""
    return _least(counted.work.vision_bytes, counted.work.vision_products + counted.attention_products, rates)


def least_prefill(counted: Counted, rates: Rates, start: int, tokens: int) -> float | None:
    """Minimum seconds of a chunk of ``tokens`` after ``start`` cached ones; logits are computed once."""
    work, head = counted.work, counted.head_products
    seen = tokens * start + tokens * tokens // 2
    products = tokens * (work.decoder_products - head) + head + seen * work.cache_products_per_token
    return _least(work.token_bytes(start), products, rates)


def least_decode(counted: Counted, rates: Rates, context: int) -> float | None:
    """Minimum seconds of a token after ``context`` cached ones: its bytes over bandwidth."""
    return None if rates.bandwidth is None else counted.work.token_bytes(context) / rates.bandwidth


def least_draft(shape: DraftShape, rates: Rates) -> float | None:
    """Minimum seconds of a draft in float32: its bytes over bandwidth."""
    return None if rates.bandwidth is None else 4 * shape.numbers_read / rates.bandwidth


def _least(size: int, products: int, rates: Rates) -> float | None:
    if rates.bandwidth is None or rates.products is None:
        return None
    return max(size / rates.bandwidth, products / rates.products)


def seconds(least: float | None, factor: Factor, layers: int) -> Range | None:
    """Predicted seconds of a stage from its minimum; the share's uncertainty covers the time per layer, too."""
    if least is None:
        return None
    share = factor.share
    middle = least / share.middle + factor.per_layer * layers
    return share.inverse().times(middle * share.middle)


def memory(counted: Counted, factors: Factors, tokens: int, activations: int) -> Range:
    """Peak bytes, with ``tokens`` in the cache."""
    cached = tokens * counted.work.cache_bytes_per_token
    return factors.weights.times(counted.weight_bytes) + factors.runtime + exactly(cached + activations)

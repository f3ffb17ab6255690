"""How long a bundle will take, and how much memory: counted bytes and multiply-adds over what a device reaches.

A stage takes the longer of moving its bytes and multiplying, over the share of that rate which is reached, and a time
for every layer that no size tells. Shares are fitted from profiles; without any they are wide, and told as ranges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np

from phantom_edge.models.sizes import SIZES, Size
from phantom_edge.profile.counting import HALF_TARGETS, PRECISIONS, Counted, Form, activation_bytes, count
from phantom_edge.profile.device_table import PROCESSORS, Entry, Shares, Stage
from phantom_edge.profile.result import Run
from phantom_edge.profile.work import Work

STAGES: tuple[Stage, ...] = ("vision", "prefill", "decode")
LEAST_SPREAD = 0.1
"""Fitted factors are told at least so far up and down: a profile is a few runs of one bundle."""


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


def rates_of(entry: Entry, target: str, weights: str, compute: str = "auto") -> Rates:
    """What a device can do for weights of a kind."""
    processor = "gpu" if compute == "gpu" else PROCESSORS[target]
    is_float = kind_of("prefill", weights) == "float"
    kind = "fp16" if target == "jetson" or compute == "gpu" else "fp32" if is_float else "int8"
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
    """What a stage takes whose least is known."""
    return None if least is None else factor.share.inverse().times(least) + exactly(factor.per_layer * layers)


def memory(counted: Counted, factors: Factors, tokens: int, activations: int) -> Range:
    """Bytes at most, with so many tokens cached."""
    cached = tokens * counted.work.cache_bytes_per_token
    return factors.weights.times(counted.weight_bytes) + factors.runtime + exactly(cached + activations)


@dataclass(frozen=True)
class Sample:
    """A profile as its stages are predicted: what was counted, what the machine can do, and what was measured."""

    counted: Counted
    rates: Rates
    weights: str
    vision: float | None
    prefill: tuple[int, float] | None
    depths: tuple[tuple[int, float], ...]
    first: float | None
    peak: float | None
    activations: int

    @property
    def deepest(self) -> int:
        """Tokens that were cached at most, as far as it is told."""
        return max([context for context, _ in self.depths] + [0 if self.prefill is None else self.prefill[0]])


def size_of_run(run: Run) -> Size | None:
    """The known size that a run's model is called after."""
    return SIZES.get(Path(run.subject.model).name)


def sample_of(run: Run, size: Size | None = None, entry: Entry | None = None) -> Sample:
    """Of a profile; ``size`` tells what its document does not (layers, head), ``entry`` rates that it does not."""
    subject, size = run.subject, size or size_of_run(run)
    told = Rates(None, None) if entry is None else rates_of(entry, subject.target, subject.weights)
    rates = Rates(run.device.bandwidth or told.bandwidth, run.device.products or told.products)
    vision, prefill = run.stage("vision"), run.stage("prefill")
    decode = run.stage("decode")
    depths = tuple((depth.context, median(depth.seconds)) for depth in run.depths if depth.seconds)
    if not depths and decode is not None and decode.warm:
        depths = ((0 if prefill is None else prefill.units, median(decode.warm)),)
    chunk = 1 if prefill is None else prefill.units
    form = _form(run, size, max([context for context, _ in depths], default=chunk) + chunk)
    return Sample(
        counted=_counted(run, form),
        rates=rates,
        weights=subject.weights,
        vision=median(vision.warm) if vision is not None and vision.warm else None,
        prefill=(prefill.units, median(prefill.warm)) if prefill is not None and prefill.warm else None,
        depths=depths,
        first=run.seconds_to_first_token,
        peak=run.peak_bytes,
        activations=0 if form is None else activation_bytes(form, chunk),
    )


def _form(run: Run, size: Size | None, context: int) -> Form | None:
    """None where the size or the recipe is not known."""
    weights = run.subject.weights
    if size is None or (kind_of("prefill", weights) != "float" and weights not in RECIPES):
        return None
    floats = "fp16" if run.subject.target in HALF_TARGETS else "fp32"
    return Form(size, run.subject.target, floats if weights == "float" else weights, context)


RECIPES = ("int8", "int4", "int4-g64", "int4-g128", "mixed", "lut4")
"""Shipped ones (``quantize.recipe.SHIPPED``, which needs torch)."""


def _counted(run: Run, form: Form | None) -> Counted:
    """As the bundle itself was counted, and the rest from its size."""
    subject = run.subject
    shape = None if form is None else count(form)
    groups = 1 if form is None else form.size.heads // form.size.kv_heads
    element = 4 if form is None else form.element
    work = Work(
        decoder_bytes=subject.decoder_bytes,
        vision_bytes=subject.vision_bytes,
        decoder_products=subject.decoder_products,
        vision_products=subject.vision_products,
        cache_bytes_per_token=subject.cache_bytes_per_token,
        cache_products_per_token=subject.cache_bytes_per_token * groups // element,
    )
    if shape is None:
        return Counted(work, 0, 1, 1, 0, 0, subject.decoder_bytes + subject.vision_bytes)
    return Counted(
        work,
        shape.table_bytes,
        shape.layers,
        shape.vision_layers,
        shape.head_products,
        shape.look_products,
        shape.disk_bytes,
    )


@dataclass(frozen=True)
class Seen:
    """A measurement of a stage: layers and bytes of the part, the least time, kind of weights, and seconds."""

    layers: int
    size: int
    least: float
    kind: str
    took: float


def calibrated(samples: Sequence[Sample], shares: Shares) -> Factors:
    """Factors fitted from profiles of one device and target; where they tell nothing, those of the table."""
    usual = uncalibrated(shares)
    measured: dict[Stage, dict[str, Factor]] = {}
    for stage in STAGES:
        seen = [one for sample in samples for one in _seen(sample, stage)]
        measured[stage] = _fitted(seen)
    weights, runtime = _fitted_memory([sample for sample in samples if sample.peak], usual)
    return Factors(usual.usual, weights, runtime, len(samples), measured)


def _seen(sample: Sample, stage: Stage) -> list[Seen]:
    counted, rates, kind = sample.counted, sample.rates, kind_of(stage, sample.weights)
    layers = counted.vision_layers if stage == "vision" else counted.layers
    size = counted.work.vision_bytes if stage == "vision" else counted.work.decoder_bytes
    pairs: list[tuple[float | None, float]] = []
    if stage == "vision" and sample.vision is not None:
        pairs.append((least_vision(counted, rates), sample.vision))
    if stage == "prefill" and sample.prefill is not None:
        tokens, took = sample.prefill
        pairs.append((least_prefill(counted, rates, 0, tokens), took))
    if stage == "decode":
        pairs += [(least_decode(counted, rates, context), took) for context, took in sample.depths]
    return [Seen(layers, size, least, kind, took) for least, took in pairs if least is not None and took > 0]


def _fitted(seen: Sequence[Seen]) -> dict[str, Factor]:
    """One time for a layer and a share for every kind, by least squares of relative errors; neither is below 0.

    The time for a layer needs profiles of models that differ: more of them than there are kinds.
    """
    kinds = sorted({one.kind for one in seen})
    if not kinds:
        return {}
    columns = [[one.least / one.took * (one.kind == kind) for one in seen] for kind in kinds]
    layers = [one.layers / one.took for one in seen]
    differing = len({(one.kind, one.layers, one.size) for one in seen})
    per_layer, slopes = 0.0, np.zeros(len(kinds))
    if differing > len(kinds):
        found = np.linalg.lstsq(np.array([layers, *columns]).T, np.ones(len(seen)), rcond=None)[0]
        per_layer, slopes = float(found[0]), found[1:]
    if per_layer <= 0 or min(slopes) <= 0:
        per_layer = 0.0
        slopes = np.array([1 / _slope(column) for column in columns])
    expected = np.array(layers) * per_layer + np.array(columns).T @ slopes
    spread = max(LEAST_SPREAD, float(np.abs(expected - 1).max()))
    return {
        kind: Factor(Range.about(1 / float(slope), spread), per_layer)
        for kind, slope in zip(kinds, slopes, strict=True)
    }


def _slope(column: Sequence[float]) -> float:
    """The factor that least squares would undo, of ``column`` times a number against ones."""
    values = np.array(column)
    return float(values @ values / values.sum())


def _fitted_memory(samples: Sequence[Sample], usual: Factors) -> tuple[Range, Range]:
    """How many times weights lie in memory, and what is there besides."""
    if not samples:
        return usual.weights, usual.runtime
    sizes = np.array([float(sample.counted.weight_bytes) for sample in samples])
    rest = np.array(
        [
            cast(float, sample.peak) - sample.activations - sample.deepest * sample.counted.work.cache_bytes_per_token
            for sample in samples
        ]
    )
    times, runtime = 1.0, float(np.mean(rest - sizes))
    if len(set(sizes)) > 1:
        table = np.array([sizes / rest, 1 / rest]).T
        times, runtime = (float(one) for one in np.linalg.lstsq(table, np.ones(len(rest)), rcond=None)[0])
    if times <= 0 or runtime <= 0:
        times, runtime = max(float(np.mean(rest / sizes)), 1e-3), 1.0
    spread = max(LEAST_SPREAD, float(np.abs((times * sizes + runtime) / rest - 1).max()))
    return Range.about(times, spread), Range.about(runtime, spread)


@dataclass(frozen=True)
class Missed:
    """A prediction beside what was measured."""

    what: str
    predicted: Range
    took: float

    @property
    def error(self) -> float:
        """How far the middle is off, relative to what was measured."""
        return self.predicted.middle / self.took - 1

    @property
    def is_within(self) -> bool:
        """Whether it lies where the prediction said."""
        return self.predicted.low <= self.took <= self.predicted.high


def against(sample: Sample, factors: Factors) -> list[Missed]:
    """Every prediction that a profile can judge: seconds of a tile, a chunk and tokens, and bytes of memory."""
    counted, rates = sample.counted, sample.rates
    found: list[Missed] = []

    def judge(what: str, stage: Stage, least: float | None, layers: int, took: float) -> None:
        expected = seconds(least, factors.of(stage, kind_of(stage, sample.weights)), layers)
        if expected is not None and took > 0:
            found.append(Missed(what, expected, took))

    if sample.vision is not None:
        judge("vision, a tile", "vision", least_vision(counted, rates), counted.vision_layers, sample.vision)
    if sample.prefill is not None:
        tokens, took = sample.prefill
        judge(f"prefill, {tokens} tokens", "prefill", least_prefill(counted, rates, 0, tokens), counted.layers, took)
    for context, took in sample.depths:
        judge(f"a token behind {context:,}", "decode", least_decode(counted, rates, context), counted.layers, took)
    if sample.peak:
        expected = memory(counted, factors, sample.deepest, sample.activations)
        found.append(Missed("memory, bytes", expected, sample.peak))
    return found


def by_target(
    samples: Mapping[str, Sequence[Sample]], shares: Mapping[str, Shares], targets: Sequence[str]
) -> dict[str, Factors]:
    """Factors of every target, fitted where there are profiles of it."""
    return {
        target: calibrated(samples[target], shares[target]) if samples.get(target) else uncalibrated(shares[target])
        for target in targets
    }

"""Fits shares of a device's rates from profiles, and compares predictions with a profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from phantom_edge.profile.devices.table import Shares, Stage
from phantom_edge.profile.plan.predict import (
    STAGES,
    Factor,
    Factors,
    Range,
    kind_of,
    least_decode,
    least_prefill,
    least_vision,
    memory,
    seconds,
    uncalibrated,
)
from phantom_edge.profile.plan.samples import Sample
from phantom_edge.runtime.tracing import TILE, chunk_named, token_named

LEAST_SPREAD, LEAST_MEMORY_SPREAD = 0.4, 0.3
"""Minimum relative spread of fitted factors; it covers about nine in ten bundles outside the fit (benchmarks/plan.py).
"""


@dataclass(frozen=True)
class Measurement:
    """A measurement of a stage: layers and bytes of the part, minimum time, kind of weights, and seconds."""

    layers: int
    size: int
    least: float
    kind: str
    took: float


def calibrated(samples: Sequence[Sample], shares: Shares) -> Factors:
    """Fits factors from profiles of one device and target; the table's fill the gaps."""
    usual = uncalibrated(shares)
    measured: dict[Stage, dict[str, Factor]] = {}
    for stage in STAGES:
        measured[stage] = _fitted([one for sample in samples for one in _measurements(sample, stage)])
    weights, runtime = _fitted_memory([sample for sample in samples if sample.peak], usual)
    return Factors(usual.usual, weights, runtime, len(samples), measured)


def _measurements(sample: Sample, stage: Stage) -> list[Measurement]:
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
    return [Measurement(layers, size, least, kind, took) for least, took in pairs if least and is_time(took)]


def is_time(took: float) -> bool:
    """True where seconds are plausible: a clock that stands still measures nothing."""
    return 1e-9 <= took <= 1e9


def _fitted(seen: Sequence[Measurement]) -> dict[str, Factor]:
    """Fits one time per layer and a share for every kind, by least squares of relative errors; neither is negative.

    The time per layer needs more different models than there are kinds of weights.
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
    """Reciprocal of the least-squares coefficient of ``column`` against ones."""
    values = np.array(column)
    return float(values @ values / values.sum())


def _fitted_memory(samples: Sequence[Sample], usual: Factors) -> tuple[Range, Range]:
    """Fits memory as a multiple of the weights and a constant."""
    if not samples:
        return usual.weights, usual.runtime
    sizes = np.array([float(sample.counted.weight_bytes) for sample in samples])
    rest = np.array(
        [
            max(cast(float, one.peak) - one.activations - one.deepest * one.counted.work.cache_bytes_per_token, 1.0)
            for one in samples
        ]
    )
    times, runtime = 1.0, float(np.mean(rest - sizes))
    if len(set(sizes)) > 1:
        table = np.array([sizes / rest, 1 / rest]).T
        times, runtime = (float(one) for one in np.linalg.lstsq(table, np.ones(len(rest)), rcond=None)[0])
    if times <= 0 or runtime <= 0:
        times, runtime = max(float(np.mean(rest / sizes)), 1e-3), 1.0
    spread = max(LEAST_MEMORY_SPREAD, float(np.abs((times * sizes + runtime) / rest - 1).max()))
    return Range.about(times, spread), Range.about(runtime, spread)


@dataclass(frozen=True)
class Missed:
    """A prediction beside its measurement."""

    what: str
    predicted: Range
    took: float

    @property
    def error(self) -> float:
        """Relative error of the middle of the prediction."""
        return self.predicted.middle / self.took - 1

    @property
    def is_within(self) -> bool:
        """True where the measurement lies within the predicted range."""
        return self.predicted.low <= self.took <= self.predicted.high


def against(sample: Sample, factors: Factors) -> list[Missed]:
    """Compares predictions with a profile: seconds of a tile, a chunk and tokens, and bytes of memory."""
    counted, rates = sample.counted, sample.rates
    found: list[Missed] = []

    def judge(what: str, stage: Stage, least: float | None, layers: int, took: float) -> None:
        expected = seconds(least, factors.of(stage, kind_of(stage, sample.weights)), layers)
        if expected is not None and is_time(took):
            found.append(Missed(what, expected, took))

    if sample.vision is not None:
        judge(TILE, "vision", least_vision(counted, rates), counted.vision_layers, sample.vision)
    if sample.prefill is not None:
        tokens, took = sample.prefill
        judge(chunk_named(tokens), "prefill", least_prefill(counted, rates, 0, tokens), counted.layers, took)
    for context, took in sample.depths:
        judge(token_named(context), "decode", least_decode(counted, rates, context), counted.layers, took)
    if sample.peak:
        expected = memory(counted, factors, sample.deepest, sample.activations)
        found.append(Missed("memory, bytes", expected, sample.peak))
    return found


def by_target(
    samples: Mapping[str, Sequence[Sample]], shares: Mapping[str, Shares], targets: Sequence[str]
) -> dict[str, Factors]:
    """Factors of every target, fitted where it has profiles."""
    return {
        target: calibrated(samples[target], shares[target]) if samples.get(target) else uncalibrated(shares[target])
        for target in targets
    }

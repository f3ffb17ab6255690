"""Shares of a device's rates, fitted from profiles; and predictions held against a profile."""

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
"""Fitted factors are told at least so far up and down: of other bundles than those that fitted them, so many are within
(benchmarks/plan.py): about nine of ten."""


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
    return [Seen(layers, size, least, kind, took) for least, took in pairs if least and is_time(took)]


def is_time(took: float) -> bool:
    """Whether a stage can take so many seconds: a clock that stands still measures nothing."""
    return 1e-9 <= took <= 1e9


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
    """Factors of every target, fitted where there are profiles of it."""
    return {
        target: calibrated(samples[target], shares[target]) if samples.get(target) else uncalibrated(shares[target])
        for target in targets
    }

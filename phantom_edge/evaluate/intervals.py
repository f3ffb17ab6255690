"""Bootstrap intervals over pictures, because questions about one picture are not independent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
DRAWS = 2000
SEED = 0
DRAWS_AT_ONCE = 100
"""Draws whose weights are in memory together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """Bounds that hold the true figure in 95 % of such evaluations."""

    low: float
    high: float


def bootstrap(sums: Floats, figure: Callable[[Floats], Floats], *, draws: int = DRAWS, seed: int = SEED) -> Interval:
    """Returns the percentile interval of a figure that is a function of sums over pictures.

    ``sums`` (pictures, K) holds each picture's contribution (such as right answers and questions); ``figure`` maps
    totals (draws, K) to figures (draws,). Pictures are drawn with replacement, each with all its questions. Too
    narrow for very few pictures, like every percentile bootstrap. Same sums and seed, same interval.
    """
    pictures = len(sums)
    random = np.random.default_rng(seed)
    even = np.full(pictures, 1 / pictures)
    figures = [
        figure(random.multinomial(pictures, even, size=min(DRAWS_AT_ONCE, draws - start)) @ sums)
        for start in range(0, draws, DRAWS_AT_ONCE)
    ]
    low, high = np.quantile(np.concatenate(figures), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def mean_interval(values: Floats, clusters: NDArray[np.int64], *, draws: int = DRAWS, seed: int = SEED) -> Interval:
    """Returns the interval of the mean of ``values`` (N,) in 0..1, whose pictures are numbered in ``clusters`` (N,).

    Where all answers are right, or all wrong, resampling has no spread: the exact binomial bound for as many trials
    as pictures replaces it.
    """
    _, numbers = np.unique(clusters, return_inverse=True)
    pictures = int(numbers.max()) + 1
    if values.min() == values.max() and values[0] in (0, 1):
        bound = float(((1 - LEVEL) / 2) ** (1 / pictures))
        return Interval(bound, 1.0) if values[0] else Interval(0.0, 1 - bound)
    sums = np.stack([np.bincount(numbers, values), np.bincount(numbers).astype(np.float64)], axis=1)
    return bootstrap(sums, lambda totals: totals[:, 0] / totals[:, 1], draws=draws, seed=seed)

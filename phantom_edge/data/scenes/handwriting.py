"""Real handwriting: the UCI digits that scikit-learn carries, in two disjoint splits of our own."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from phantom_edge.foundation.errors import need

HELD_OUT_EVERY = 5
"""Every fifth writer's digit is kept for the held-out split."""


@cache
def digit_images() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Returns the ink of each sample, (N, 8, 8) from 0 to 255, and its digit (N,)."""
    loaded = need("sklearn.datasets", "scenes").load_digits()
    return (loaded.images * (255 / 16)).round().astype(np.uint8), loaded.target.astype(np.int64)


@cache
def samples_of(digit: int, held_out: bool) -> tuple[int, ...]:
    """Returns indices of the samples of ``digit`` in one of the two splits."""
    _, targets = digit_images()
    found = np.flatnonzero(targets == digit)
    return tuple(int(i) for i in found if (i % HELD_OUT_EVERY == 0) == held_out)

"""How far a result lies from the reference, and how far float32 and float16 may lie from it."""

from typing import Any

import numpy as np

BOUND = 1e-4
"""Largest relative error in float32, where sums are taken in another order."""

HALF_BOUND = 3e-2
"""Largest relative error in float16, where each operator rounds."""


def relative_error(found: Any, wanted: Any) -> float:
    """The largest difference, relative to the largest number wanted."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape and np.isfinite(found).all()
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())

"""Wide sums for narrow weights."""

import torch


def wide(dtype: torch.dtype) -> torch.dtype:
    """Float32, or float64 where ``dtype`` is float64: nothing is narrowed."""
    return torch.promote_types(dtype, torch.float32)

"""What is summed wide whatever the weights are."""

import torch


def wide(dtype: torch.dtype) -> torch.dtype:
    """Float32, or float64 where ``dtype`` is that: half precision is widened, and nothing is narrowed."""
    return torch.promote_types(dtype, torch.float32)

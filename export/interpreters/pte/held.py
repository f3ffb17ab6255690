"""Integers and scales of a weight as in a program, and the rounding of its inputs."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

HALF = 8
"""Offset of stored four-bit integers."""


@dataclass(frozen=True)
class Held:
    """A weight: ``integers`` int8 (rows, columns), signed, and ``scales`` float32 (rows, groups)."""

    integers: Tensor
    scales: Tensor

    @cached_property
    def weight(self) -> Tensor:
        """``integer * scale`` (rows, columns) in float32."""
        rows, columns = self.integers.shape
        grouped = self.integers.float().view(rows, self.scales.shape[1], -1)
        return (grouped * self.scales[..., None]).view(rows, columns)


def unpacked(packed: Tensor, *, low_first: bool) -> Tensor:
    """Unpacks bytes (rows, columns / 2) to signed four-bit integers (rows, columns)."""
    halves = [packed & 15, packed >> 4]
    both = torch.stack(halves if low_first else halves[::-1], dim=-1)
    return (both.flatten(1).short() - HALF).to(torch.int8)


def rounded(x: Tensor) -> Tensor:
    """Rounds each row of ``x`` (..., columns) as XNNPACK does, to 8 bits with a zero point of its own."""
    low, high = x.amin(-1, keepdim=True).clamp(max=0), x.amax(-1, keepdim=True).clamp(min=0)
    levels = torch.where(low == high, torch.ones_like(low), 255 / (high - low))
    nearer_low = (-128 + low * levels) + (127 + high * levels) > 0
    zero = torch.where(nearer_low, -128 - low * levels, 127 - high * levels).clamp(-128, 127).round()
    return (((x * levels).round() + zero).clamp(-128, 127) - zero) * (1 / levels)

"""Integers in blocks of a row, two in a byte where they fit: how MatMulNBits holds them, and embedding tables."""

from typing import Literal

import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, packed

WHOLE_ROW = 128
"""Block of rows that have one scale: it is said for each block, for the operator knows no other way."""


def carried(scheme: Scheme) -> tuple[Literal[4, 8], int]:
    """Bits and block that MatMulNBits carries a scheme in."""
    return 8 if scheme.bits == 8 else 4, scheme.group or WHOLE_ROW


def is_plain(scheme: Scheme) -> bool:
    """Whether its zero is where MatMulNBits expects it."""
    return scheme.symmetric and scheme.middle == 2 ** (carried(scheme)[0] - 1)


def blobs(weight: Quantized) -> Tensor:
    """Integers as MatMulNBits wants them, (rows, blocks, bytes); a last block is filled with the middle."""
    scheme, integers = weight.scheme, weight.integers
    bits, block = carried(scheme)
    missing = -integers.shape[1] % block
    if missing:
        integers = torch.nn.functional.pad(integers, (0, missing), value=scheme.middle)
    if bits == 4:
        integers = packed(integers)
    return integers.view(len(integers), -1, block * bits // 8)


def block_scales(weight: Quantized) -> Tensor:
    """Scales (rows, blocks)."""
    return weight.scales.expand(-1, _blocks(weight))


def zeros(weight: Quantized) -> Tensor:
    """Zero points, two in a byte where integers are: (rows, bytes)."""
    points = weight.zero_points
    if points is None:
        points = torch.full((len(weight.integers), _blocks(weight)), weight.scheme.middle, dtype=torch.uint8)
    return points if carried(weight.scheme)[0] == 8 else packed(points)


def _blocks(weight: Quantized) -> int:
    return -(-weight.integers.shape[1] // carried(weight.scheme)[1])

"""Integers in blocks of a row, two in a byte where they fit: the layout of MatMulNBits and of embedding tables."""

from typing import Literal

import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, packed

WHOLE_ROW = 128
"""Block size for rows with one scale, which is repeated for each block: MatMulNBits has only scales of blocks."""


def carried(scheme: Scheme) -> tuple[Literal[4, 8], int]:
    """Bits and block size of a scheme in MatMulNBits."""
    return 8 if scheme.bits == 8 else 4, scheme.group or WHOLE_ROW


def is_plain(scheme: Scheme) -> bool:
    """True where the scheme's zero point is MatMulNBits' default."""
    return scheme.symmetric and scheme.middle == 2 ** (carried(scheme)[0] - 1)


def blobs(weight: Quantized) -> Tensor:
    """Integers in MatMulNBits' layout, (rows, blocks, bytes); the last block is padded with the middle."""
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
    """Zero points (rows, bytes), packed as the integers are."""
    points = weight.zero_points
    if points is None:
        points = torch.full((len(weight.integers), _blocks(weight)), weight.scheme.middle, dtype=torch.uint8)
    return points if carried(weight.scheme)[0] == 8 else packed(points)


def _blocks(weight: Quantized) -> int:
    return -(-weight.integers.shape[1] // carried(weight.scheme)[1])

"""Ways to find a weight's integers: rounding to nearest with fitted scales, GPTQ, HQQ.

Each takes a weight (rows, columns) and, where it is calibrated, the Gram matrix ``X^T X`` of the layer's inputs,
(columns, columns).
"""

from typing import Protocol

import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, palettized
from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.quantize.palettes import entries, fitted_palettes, with_palettes
from phantom_edge.quantize.rounding import fitted_scales, round_to, scales_of

DAMPING = 0.01
"""Share of the mean of the Gram matrix' diagonal that is added to it (GPTQ, section 3.3)."""

HALF = 128
"""Columns between two updates of all the rest."""


def fitted(weight: Tensor, scheme: Scheme, gram: Tensor | None) -> Quantized:
    """Rounds to nearest, with fitted scales or palettes."""
    importance = None if gram is None else gram.diagonal()
    if scheme.palette_rows is not None:
        return with_palettes(weight, scheme, importance)
    scales, zeros = fitted_scales(weight, scheme, importance)
    return _made(scheme, round_to(weight, scheme, scales, zeros), scales, zeros)


def gptq(weight: Tensor, scheme: Scheme, gram: Tensor | None) -> Quantized:
    """GPTQ (arXiv 2210.17323): column by column, the columns that follow make up for the rounding error of each.

    Columns are ordered by the size of their inputs; scales or palettes are fitted beforehand and stay. Raises EdgeError
    for a Gram matrix that is not finite.
    """
    assert gram is not None
    if not gram.isfinite().all():
        raise EdgeError("its inputs hold NaN or infinity", "give other calibration data, or use --recipe with rtn")
    rows, columns = weight.shape
    grid: Grid = (_Palettes if scheme.palette_rows is not None else _Scales)(weight, scheme, gram.diagonal())
    order = gram.diagonal().argsort(descending=True)
    inverse = _inverse_factor(gram[order][:, order])
    rest = weight[:, order].clone()
    integers = torch.empty(rows, columns, dtype=torch.uint8)
    for start in range(0, columns, HALF):
        end = min(start + HALF, columns)
        left_over = torch.zeros(rows, end - start)
        for column in range(start, end):
            integer, number = grid.rounded(rest[:, column, None], int(order[column]))
            integers[:, order[column]] = integer[:, 0]
            off = (rest[:, column, None] - number) / inverse[column, column]
            rest[:, column:end] -= off @ inverse[column, None, column:end]
            left_over[:, column - start] = off[:, 0]
        rest[:, end:] -= left_over @ inverse[start:end, end:]
    return grid.quantized(integers)


class Grid(Protocol):
    """The numbers that a weight may have, fixed before it is rounded column by column."""

    def rounded(self, numbers: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Integers and values (rows, 1) nearest to ``numbers`` (rows, 1) of a column."""

    def quantized(self, integers: Tensor) -> Quantized:
        """The weight with all its ``integers``."""


class _Scales:
    """Multiples of fitted scales."""

    def __init__(self, weight: Tensor, scheme: Scheme, importance: Tensor) -> None:
        self.scheme = scheme
        self.scales, self.zeros = fitted_scales(weight, scheme, importance)
        self.width = weight.shape[1] // self.scales.shape[1]

    def rounded(self, numbers: Tensor, column: int) -> tuple[Tensor, Tensor]:
        group = column // self.width
        scale = self.scales[:, group, None]
        zero = None if self.zeros is None else self.zeros[:, group, None]
        integer = round_to(numbers, self.scheme, scale, zero)
        return integer, (integer.float() - (self.scheme.middle if zero is None else zero)) * scale

    def quantized(self, integers: Tensor) -> Quantized:
        return _made(self.scheme, integers, self.scales, self.zeros)


class _Palettes:
    """Fitted palettes."""

    def __init__(self, weight: Tensor, scheme: Scheme, importance: Tensor) -> None:
        self.scheme, self.palettes = scheme, fitted_palettes(weight, scheme, importance)

    def rounded(self, numbers: Tensor, column: int) -> tuple[Tensor, Tensor]:
        held = palettized(self.scheme, entries(numbers, self.scheme, self.palettes), self.palettes)
        return held.integers, held.dequantize()

    def quantized(self, integers: Tensor) -> Quantized:
        return palettized(self.scheme, integers, self.palettes)


def _inverse_factor(gram: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped inverse."""
    damped = gram.double()
    damped.diagonal().add_(DAMPING * damped.diagonal().mean().clamp(min=1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


def hqq(weight: Tensor, scheme: Scheme, gram: Tensor | None) -> Quantized:
    """HQQ (Badri and Shaji, 2023), by ONNX Runtime's solver; rounds its zero points, then the weights to nearest."""
    assert scheme.group is not None
    solver = need("onnxruntime.quantization.matmul_nbits_quantizer", "export").HQQWeightOnlyQuantizer
    scales, zeros = scales_of(weight, scheme)
    assert zeros is not None
    grouped, inverse = weight.view(-1, scheme.group), 1 / scales.view(-1, 1)
    _, moved = solver.optimize_weights(grouped, inverse, zeros.view(-1, 1), [0, scheme.levels - 1], axis=1)
    zeros = moved.round().clamp(0, scheme.levels - 1).view_as(scales)
    return _made(scheme, round_to(weight, scheme, scales, zeros), scales, zeros)


def _made(scheme: Scheme, integers: Tensor, scales: Tensor, zeros: Tensor | None) -> Quantized:
    return Quantized(scheme, integers, scales.half(), None if zeros is None else zeros.to(torch.uint8))

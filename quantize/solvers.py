"""Ways to find a weight's integers: rounding to nearest with fitted scales, GPTQ, HQQ.

Each takes a weight (rows, columns) and, where it uses what the layer reads, the Gram matrix ``X^T X`` of its inputs,
(columns, columns).
"""

import torch
from torch import Tensor

from phantom_edge.errors import EdgeError, need
from phantom_edge.quantize.rounding import as_float16, round_to, scales_of
from phantom_edge.quantize.schemes import Quantized, Scheme

SHRINKS = [1 - step / 40 for step in range(13)]
"""Scales that are tried, as shares of the one that covers a whole group."""

DAMPING = 0.01
"""Of the mean of the Gram matrix' diagonal, added to it (GPTQ, section 3.3)."""

HALF = 128
"""Columns between two updates of all the rest."""


def fitted_scales(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scales and zero points whose rounding leaves the least squares, weighed by ``importance`` (columns,).

    The importance of an input is its mean square: so this is the error of the output where inputs are independent.
    """
    rows, columns = weight.shape
    groups = scheme.groups(columns)
    weights = torch.ones(columns) if importance is None else importance.clamp(min=0) + 1e-12 * importance.max()
    covering, middle = scales_of(weight, scheme)
    best = torch.full((rows, groups), float("inf"))
    chosen, points = covering.clone(), None if middle is None else middle.clone()
    for shrink in SHRINKS:
        scales = as_float16(covering * shrink)
        zeros = middle
        integers = round_to(weight, scheme, scales, zeros)
        off = (Quantized(scheme, integers, scales, zeros).dequantize() - weight).square() * weights
        lost = off.view(rows, groups, -1).sum(-1)
        better = lost < best
        best = torch.where(better, lost, best)
        chosen = torch.where(better, scales, chosen)
    return chosen, points


def fitted(weight: Tensor, scheme: Scheme, gram: Tensor | None) -> Quantized:
    """To nearest, with fitted scales."""
    scales, zeros = fitted_scales(weight, scheme, None if gram is None else gram.diagonal())
    return _made(scheme, round_to(weight, scheme, scales, zeros), scales, zeros)


def gptq(weight: Tensor, scheme: Scheme, gram: Tensor | None) -> Quantized:
    """GPTQ (arXiv 2210.17323): column by column, what rounding one leaves over is given to those that follow.

    Columns are taken by the size of their inputs, scales are fitted beforehand and stay. Raises EdgeError for a Gram
    matrix that is not finite.
    """
    assert gram is not None
    if not gram.isfinite().all():
        raise EdgeError("its inputs hold NaN or infinity", "give other calibration data, or use --recipe with rtn")
    rows, columns = weight.shape
    scales, zeros = fitted_scales(weight, scheme, gram.diagonal())
    order = gram.diagonal().argsort(descending=True)
    inverse = _inverse_factor(gram[order][:, order])
    rest = weight[:, order].clone()
    group_of = torch.arange(columns).div(columns // scales.shape[1], rounding_mode="floor")[order]
    integers = torch.empty(rows, columns, dtype=torch.uint8)
    for start in range(0, columns, HALF):
        end = min(start + HALF, columns)
        left_over = torch.zeros(rows, end - start)
        for column in range(start, end):
            scale = scales[:, group_of[column], None]
            zero = None if zeros is None else zeros[:, group_of[column], None]
            integer = round_to(rest[:, column, None], scheme, scale, zero)
            integers[:, order[column]] = integer[:, 0]
            middle = scheme.middle if zero is None else zero
            off = (rest[:, column, None] - (integer.float() - middle) * scale) / inverse[column, column]
            rest[:, column:end] -= off @ inverse[column, None, column:end]
            left_over[:, column - start] = off[:, 0]
        rest[:, end:] -= left_over @ inverse[start:end, end:]
    return _made(scheme, integers, scales, zeros)


def _inverse_factor(gram: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped inverse."""
    damped = gram.double()
    damped.diagonal().add_(DAMPING * damped.diagonal().mean().clamp(min=1e-12))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


def hqq(weight: Tensor, scheme: Scheme, gram: Tensor | None) -> Quantized:
    """HQQ (Badri and Shaji, 2023), by ONNX Runtime's solver; its zero points are rounded, then weights to nearest."""
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

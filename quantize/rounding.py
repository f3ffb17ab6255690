"""Round to nearest (RTN): scales from the largest numbers of a group, and the nearest integer for each weight."""

import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.schemes import MOST_MULTIPLE, Scheme
from phantom_edge.checkpoint.quantized.weights import LEAST, MOST, Quantized, as_float16
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.quantize.palettes import with_palettes

BLOCK_ROWS = 4096
"""Rows to round at a time: an embedding in float32 is large."""


MOST_BFLOAT16 = 65280.0
"""The largest float16 number that bfloat16 represents exactly."""


SHRINKS = [1 - step / 40 for step in range(13)]
"""Scales to try, as shares of the one that covers a whole group."""


STEP_SHRINKS = (1.0, 0.95, 0.9, 0.85)
"""The same for the steps of ``multiples``."""


def scales_of(weight: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor | None]:
    """Scales and zero points (rows, groups) of a weight (rows, columns), float32.

    Symmetric 3 and 4 bits map the number of largest magnitude to the integer furthest from the middle, which has no
    counterpart, so that no level is wasted; except for schemes with positive scales. With 8 bits that would gain
    nothing, and both ends are 127 away.
    """
    rows, columns = weight.shape
    grouped = weight.view(rows, scheme.groups(columns), -1)
    low, high = grouped.amin(-1), grouped.amax(-1)
    if not scheme.symmetric:
        low, high = low.clamp(max=0), high.clamp(min=0)
        scales = as_float16((high - low) / (scheme.levels - 1))
        return scales, (-low / scales).round().clamp(0, scheme.levels - 1)
    if scheme.bits == 8:
        return as_float16(torch.maximum(-low, high) / (scheme.middle - 1)), None
    if scheme.positive:
        return held_scales(torch.maximum(low / -scheme.middle, high / (scheme.middle - 1)), scheme), None
    extreme = torch.where(high > -low, high, low)
    return as_float16(extreme / -scheme.middle), None


def held_scales(scales: Tensor, scheme: Scheme) -> Tensor:
    """The nearest scales that a scheme can store."""
    return scales.clamp(LEAST, MOST_BFLOAT16).bfloat16().float() if scheme.positive else as_float16(scales)


def round_to(weight: Tensor, scheme: Scheme, scales: Tensor, zeros: Tensor | None) -> Tensor:
    """Nearest integers uint8 (rows, columns) of a weight for given scales and zero points (rows, groups)."""
    rows, columns = weight.shape
    grouped = weight.view(rows, scales.shape[1], -1)
    zero = float(scheme.middle) if zeros is None else zeros[..., None]
    integers = (grouped / scales[..., None]).round() + zero
    least = 1 if zeros is None and scheme.bits == 8 else 0
    return integers.clamp(least, scheme.levels - 1).to(torch.uint8).view(rows, columns)


def fitted_scales(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Least-squares scales and zero points, with squares weighted by ``importance`` (columns,).

    The importance of an input is its mean square: so this is the error of the output where inputs are independent.
    """
    if scheme.exact8:
        return multiples(weight, scheme, importance), None
    rows, columns = weight.shape
    groups = scheme.groups(columns)
    weights = _weights(columns, importance)
    covering, middle = scales_of(weight, scheme)
    best = torch.full((rows, groups), float("inf"))
    chosen, points = covering.clone(), None if middle is None else middle.clone()
    for shrink in SHRINKS:
        scales = held_scales(covering * shrink, scheme)
        zeros = middle
        integers = round_to(weight, scheme, scales, zeros)
        off = (Quantized(scheme, integers, scales, zeros).dequantize() - weight).square() * weights
        lost = off.view(rows, groups, -1).sum(-1)
        better = lost < best
        best = torch.where(better, lost, best)
        chosen = torch.where(better, scales, chosen)
    return chosen, points


def _weights(columns: int, importance: Tensor | None) -> Tensor:
    return torch.ones(columns) if importance is None else importance.clamp(min=0) + 1e-12 * importance.max()


def multiples(weight: Tensor, scheme: Scheme, importance: Tensor | None) -> Tensor:
    """Least-squares scales (rows, groups) that are multiples of one step in each row; see ``Scheme.exact8``.

    Steps have 7 bits, so that their multiples are exact in float16.
    """
    rows, columns = weight.shape
    weights = _weights(columns, importance)
    covering, _ = scales_of(weight, scheme)
    signs = torch.where(covering < 0, -1.0, 1.0)
    best, chosen = torch.full((rows, 1), float("inf")), covering
    for shrink in STEP_SHRINKS:
        mantissa, exponent = torch.frexp(covering.abs().amax(1, keepdim=True) * (shrink / MOST_MULTIPLE))
        step = torch.ldexp((mantissa * 128).round() / 128, exponent).clamp(min=LEAST)
        least = torch.full_like(covering, float("inf"))
        scales = covering
        for more in (-1, 0, 1, 2):
            tried = ((covering.abs() / step).floor() + more).clamp(1, MOST_MULTIPLE) * step * signs
            found = Quantized(scheme, round_to(weight, scheme, tried, None), tried)
            lost = ((found.dequantize() - weight).square() * weights).view(*covering.shape, -1).sum(-1)
            scales, least = torch.where(lost < least, tried, scales), torch.minimum(lost, least)
        total = least.sum(1, keepdim=True)
        chosen, best = torch.where(total < best, scales, chosen), torch.minimum(total, best)
    return chosen


def nearest(weight: Tensor, scheme: Scheme) -> Quantized:
    """Rounds a weight (rows, columns) to nearest, with k-means palettes. Raises EdgeError as ``Scheme.groups``.

    Scales cover their whole group. Positive ones would waste a level where a group's largest number is above 0: so
    they are least-squares scales, which may clip that number; and so are multiples of a step.
    """
    scheme.groups(weight.shape[1])
    if scheme.palette_rows is not None:
        return with_palettes(weight, scheme, None)
    scales, zeros = (
        fitted_scales(weight, scheme, None) if scheme.positive or scheme.exact8 else scales_of(weight, scheme)
    )
    integers = round_to(weight, scheme, scales, zeros)
    return Quantized(scheme, integers, scales.half(), None if zeros is None else zeros.to(torch.uint8))


def check_range(name: str, weight: Tensor) -> None:
    """Raises EdgeError for a weight that is not finite, or beyond the range of float16 scales."""
    largest = float(weight.abs().max())  # NaN where there is one
    if not largest <= MOST:
        raise EdgeError(f"{name} holds {largest:g}", "the checkpoint is damaged or training diverged")

"""Operations that create numbers: sizes, ranges, patterns. Definitions: ops/defs/*/tensor_operation.py."""

from collections.abc import Callable

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.call import Call, Kernel
from phantom_edge.export.interpreters.mil.formats import FORMATS

Make = Callable[[Call], Kernel]


def shape(call: Call) -> Kernel:
    """The sizes of ``x``."""
    call.takes("x")
    return lambda x: torch.tensor(x.shape, dtype=torch.int32)


def fill(call: Call) -> Kernel:
    """Fills a tensor of ``shape`` with ``value``."""
    sizes = call.numbers("shape")
    value, dtype = _fill_value(call)
    return lambda *taken: torch.full(sizes.of(taken), value, dtype=dtype)


def fill_like(call: Call) -> Kernel:
    """Fills a tensor of the shape of ``ref_tensor`` with ``value``."""
    call.takes("ref_tensor")
    value, dtype = _fill_value(call)
    return lambda x: torch.full(x.shape, value, dtype=dtype)


def _fill_value(call: Call) -> tuple[float, torch.dtype | None]:
    dtype = FORMATS[call.operation.outputs[0].dtype].tensor
    if not call.has("value"):
        return 0.0, dtype
    return call.number("value"), FORMATS[call.constant("value").dtype].tensor


def range_1d(call: Call) -> Kernel:
    """Numbers from ``start`` up to ``end``, exclusive, in steps of ``step``."""
    call.takes("start", "end", "step")
    dtype = FORMATS[call.typed("start").dtype].tensor

    def kernel(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
        return torch.arange(start.item(), end.item(), step.item(), dtype=dtype)

    return kernel


def band_part(call: Call) -> Kernel:
    """Keeps ``lower`` diagonals below the main one and ``upper`` above it, all if negative; zeros the rest."""
    call.takes("x")
    lower, upper = call.whole_number("lower", -1), call.whole_number("upper", -1)

    def kernel(x: Tensor) -> Tensor:
        distance = torch.arange(x.shape[-1]) - torch.arange(x.shape[-2])[:, None]
        kept = torch.ones(distance.shape, dtype=torch.bool)
        if lower >= 0:
            kept &= distance >= -lower
        if upper >= 0:
            kept &= distance <= upper
        return torch.where(kept, x, torch.zeros((), dtype=x.dtype))

    return kernel


def non_zero(call: Call) -> Kernel:
    """Indices (count, rank) of the numbers of ``x`` that are not 0."""
    call.takes("x")
    return lambda x: x.nonzero().to(torch.int32)


def one_hot(call: Call) -> Kernel:
    """``on_value`` at each index along a new ``axis``, ``off_value`` elsewhere."""
    call.takes("indices")
    size = call.numbers("one_hot_vector_size")
    axis = call.axis("axis", -1, call.rank("indices") + 1)
    on, off = (call.number(name, default, "indices") for name, default in (("on_value", 1.0), ("off_value", 0.0)))
    dtype = FORMATS[call.operation.outputs[0].dtype].tensor

    def kernel(*taken: Tensor) -> Tensor:
        hot = taken[0].unsqueeze(-1) == torch.arange(size.of(taken)[0])
        return torch.where(hot, on, off).to(dtype).movedim(-1, axis)

    return kernel


MAKING: dict[str, Make] = {
    "shape": shape,
    "fill": fill,
    "fill_like": fill_like,
    "range_1d": range_1d,
    "band_part": band_part,
    "non_zero": non_zero,
    "one_hot": one_hot,
}

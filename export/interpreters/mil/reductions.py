"""Sums, means, extremes, sorting and pooling. Definitions: ops/defs/*/{reduction,pool,tensor_operation}.py."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from phantom_edge.export.interpreters.mil.call import Call, Kernel, Refused, partial_sums, rounding
from phantom_edge.export.interpreters.mil.formats import FORMATS
from phantom_edge.export.interpreters.mil.products import PAD_TYPES, flat, padding

Make = Callable[[Call], Kernel]
Axes = tuple[int, ...]
Reduction = Callable[[Tensor, Axes, bool], Tensor]


def reduction(function: Reduction, before: str = "", after: str = "", *, integers: bool = False) -> Make:
    """Reduces ``axes``, or all. Strict mode sums in steps, with ``before`` on each number and ``after`` on the sum."""

    def make(call: Call) -> Kernel:
        call.takes("x")
        if not integers:
            call.needs_float("x")
        rank = call.rank("x")
        axes, keeps = call.axes("axes", range(rank), rank), call.flag("keep_dims", False)
        if not axes:
            raise call.refuse("no axes")
        if call.strict and function in SUMS:
            return _strict(call, axes, keeps, before, after)
        return lambda x: function(x, axes, keeps)

    return make


def _strict(call: Call, axes: tuple[int, ...], keeps: bool, before: str, after: str) -> Kernel:
    round_ = rounding(call.notes)

    def kernel(x: Tensor) -> Tensor:
        largest = x.amax(axes, keepdim=True) if before == "exp" else None
        each = round_(STEPS[before](x if largest is None else round_(x - largest)))
        total = partial_sums(each, axes, round_)
        count = x.numel() // max(total.numel(), 1)
        total = total / count if after == "mean" else STEPS[after](total)
        total = total if largest is None else round_(total) + largest
        return total if keeps else total.squeeze(axes)

    return kernel


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "square": torch.square,
    "abs": torch.abs,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
}


def _sum(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.sum(axes, keeps, dtype=x.dtype)


def _mean(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.mean(axes, keeps)


def _sum_square(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.square().sum(axes, keeps, dtype=x.dtype)


def _l1_norm(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.abs().sum(axes, keeps, dtype=x.dtype)


def _l2_norm(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.square().sum(axes, keeps).sqrt()


def _log_sum(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.sum(axes, keeps).log()


def _log_sum_exp(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return torch.logsumexp(x, list(axes), keeps)


def _max(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.amax(axes, keeps)


def _min(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    return x.amin(axes, keeps)


def _prod(x: Tensor, axes: Axes, keeps: bool) -> Tensor:
    for axis in reversed(axes):
        x = x.prod(axis, keeps, dtype=x.dtype)
    return x


SUMS = {_sum, _mean, _sum_square, _l1_norm, _l2_norm, _log_sum, _log_sum_exp}


def argument(function: Callable[[Tensor, int, bool], Tensor]) -> Make:
    """Index of the extreme along ``axis``, the first of several."""

    def make(call: Call) -> Kernel:
        call.takes("x")
        axis, keeps = call.axis("axis", -1, call.rank("x")), call.flag("keep_dims", False)
        call.format("output_dtype", "int32")
        return lambda x: function(x, axis, keeps).to(torch.int32)

    return make


def argsort(call: Call) -> Kernel:
    """Indices that sort the numbers, by default the largest first."""
    call.takes("x")
    axis, descending = call.axis("axis", -1, call.rank("x")), not call.flag("ascending", False)
    return lambda x: x.argsort(stable=True, dim=axis, descending=descending).to(torch.int32)


def topk(call: Call) -> Kernel:
    """The ``k`` largest numbers, or smallest if ascending, and their indices; always sorted."""
    call.takes("x")
    k, axis, descending = (
        call.whole_number("k", 1),
        call.axis("axis", -1, call.rank("x")),
        not call.flag("ascending", False),
    )
    call.flag("sort", True)
    call.format("output_indices_dtype", "int32")
    has_places = call.flag("return_indices", True)

    def kernel(x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not 0 <= k <= x.shape[axis]:
            raise Refused(f"{k} of {x.shape[axis]} numbers")
        values, places = x.sort(stable=True, dim=axis, descending=descending)
        values = values.narrow(axis, 0, k)
        return (values, places.narrow(axis, 0, k).to(torch.int32)) if has_places else values

    return kernel


def cumsum(call: Call) -> Kernel:
    """Cumulative sums, without the number itself if exclusive, from the end if reverse."""
    call.takes("x")
    axis = call.axis("axis", 0, call.rank("x"))
    exclusive, backwards = call.flag("exclusive", False), call.flag("reverse", False)
    dtype = FORMATS[call.typed("x").dtype].tensor

    def kernel(x: Tensor) -> Tensor:
        x = x.flip(axis) if backwards else x
        found = x.cumsum(axis, dtype=dtype)
        if exclusive:
            found = torch.cat(
                [torch.zeros_like(found.narrow(axis, 0, 1)), found.narrow(axis, 0, x.shape[axis] - 1)], axis
            )
        return found.flip(axis) if backwards else found

    return kernel


AVERAGE: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}
MAXIMUM: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}


def pool(call: Call, is_average: bool) -> Kernel:
    """Pools windows of ``kernel_sizes``. Padding counts in a mean unless ``exclude_padding_from_average``."""
    call.takes("x")
    spatial = call.rank("x") - 2
    if spatial not in AVERAGE:
        raise call.refuse(f"{spatial} spatial dimensions")
    sizes = call.whole_numbers("kernel_sizes")
    strides = call.whole_numbers("strides", (1,) * spatial)
    pad = call.whole_numbers("pad", (0,) * 2 * spatial)
    pad_type = call.choice("pad_type", "valid", PAD_TYPES)
    rounds_up = call.flag("ceil_mode", False)
    excludes = is_average and call.flag("exclude_padding_from_average", False)
    if len(pad) != 2 * spatial or len(sizes) != spatial or len(strides) != spatial:
        raise call.refuse(f"sizes do not fit {spatial} spatial dimensions")

    def kernel(x: Tensor) -> Tensor:
        pairs = padding(pad_type, pad, x.shape[2:], sizes, strides)
        if rounds_up and any(before != after for before, after in pairs):
            raise Refused("ceil_mode with uneven padding")
        even = [
            before if before == after and 2 * before <= size else 0
            for (before, after), size in zip(pairs, sizes, strict=True)
        ]
        rest = [(before - same, after - same) for (before, after), same in zip(pairs, even, strict=True)]
        if not is_average:
            wide = functional.pad(x, flat(rest), value=-torch.inf)
            return MAXIMUM[spatial](wide, sizes, strides, even, ceil_mode=rounds_up)
        if excludes and any(one != (0, 0) for one in rest):
            mean = AVERAGE[spatial](functional.pad(x, flat(pairs)), sizes, strides)
            return mean / AVERAGE[spatial](functional.pad(torch.ones_like(x), flat(pairs)), sizes, strides)
        return AVERAGE[spatial](functional.pad(x, flat(rest)), sizes, strides, even, rounds_up, not excludes)

    return kernel


REDUCTIONS: dict[str, Make] = {
    "reduce_sum": reduction(_sum, integers=True),
    "reduce_mean": reduction(_mean, after="mean"),
    "reduce_sum_square": reduction(_sum_square, before="square", integers=True),
    "reduce_l1_norm": reduction(_l1_norm, before="abs", integers=True),
    "reduce_l2_norm": reduction(_l2_norm, before="square", after="sqrt"),
    "reduce_log_sum": reduction(_log_sum, after="log"),
    "reduce_log_sum_exp": reduction(_log_sum_exp, before="exp", after="log"),
    "reduce_max": reduction(_max, integers=True),
    "reduce_min": reduction(_min, integers=True),
    "reduce_prod": reduction(_prod, integers=True),
    "reduce_argmax": argument(torch.argmax),
    "reduce_argmin": argument(torch.argmin),
    "argsort": argsort,
    "topk": topk,
    "cumsum": cumsum,
    "avg_pool": lambda call: pool(call, True),
    "max_pool": lambda call: pool(call, False),
}

"""Normalizations. Definitions: ops/defs/iOS15/normalization.py."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from phantom_edge.export.interpreters.mil.call import Call, Kernel, partial_sums, rounding

Make = Callable[[Call], Kernel]


def layer_norm(call: Call) -> Kernel:
    """Normalizes over ``axes``, or all; ``gamma`` and ``beta`` have the sizes of these."""
    call.takes("x")
    call.needs_float("x")
    rank = call.rank("x")
    axes = call.axes("axes", range(rank), rank)
    has_gamma, has_beta = call.takes_if_given("gamma"), call.takes_if_given("beta")
    epsilon = call.number("epsilon", 1e-5)
    if not axes:
        raise call.refuse("no axes")
    if not call.strict and axes == tuple(range(rank - len(axes), rank)):

        def last(x: Tensor, *rest: Tensor) -> Tensor:
            gamma, beta = _pair(rest, has_gamma, has_beta)
            return functional.layer_norm(x, x.shape[-len(axes) :], gamma, beta, epsilon)

        return last
    normalize = _strictly(call, axes, epsilon) if call.strict else _plainly(axes, epsilon)
    round_ = rounding(call.notes) if call.strict else _same

    def anywhere(x: Tensor, *rest: Tensor) -> Tensor:
        found = normalize(x)
        sizes = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
        gamma, beta = _pair(rest, has_gamma, has_beta)
        found = found if gamma is None else round_(found * gamma.reshape(sizes))
        return found if beta is None else found + beta.reshape(sizes)

    return anywhere


def _same(x: Tensor) -> Tensor:
    return x


def _pair(rest: Sequence[Tensor], has_first: bool, has_second: bool) -> tuple[Tensor | None, Tensor | None]:
    given = iter(rest)
    return next(given) if has_first else None, next(given) if has_second else None


def _plainly(axes: tuple[int, ...], epsilon: float) -> Callable[[Tensor], Tensor]:
    def normalize(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True) + epsilon).sqrt()

    return normalize


def _strictly(call: Call, axes: tuple[int, ...], epsilon: float) -> Callable[[Tensor], Tensor]:
    round_ = rounding(call.notes)

    def mean(x: Tensor) -> Tensor:
        total = partial_sums(x, axes, round_)
        return round_(total / (x.numel() // max(total.numel(), 1)))

    def normalize(x: Tensor) -> Tensor:
        centred = round_(x - mean(x))
        return round_(centred * round_(torch.rsqrt(round_(mean(round_(centred.square())) + epsilon))))

    return normalize


def batch_norm(call: Call) -> Kernel:
    """Normalizes by the ``mean`` and ``variance`` of each channel, the second dimension."""
    call.takes("x", "mean", "variance")
    has_gamma, has_beta = call.takes_if_given("gamma"), call.takes_if_given("beta")
    epsilon = call.number("epsilon", 1e-5)

    def kernel(x: Tensor, mean: Tensor, variance: Tensor, *rest: Tensor) -> Tensor:
        gamma, beta = _pair(rest, has_gamma, has_beta)
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)

    return kernel


def instance_norm(call: Call) -> Kernel:
    """Normalizes over all but the first two dimensions."""
    call.takes("x")
    has_gamma, has_beta = call.takes_if_given("gamma"), call.takes_if_given("beta")
    epsilon, rank = call.number("epsilon", 1e-5), call.rank("x")
    axes = tuple(range(2, rank))
    normalize = _strictly(call, axes, epsilon) if call.strict else _plainly(axes, epsilon)
    sizes = (-1, *[1] * (rank - 2))

    def kernel(x: Tensor, *rest: Tensor) -> Tensor:
        gamma, beta = _pair(rest, has_gamma, has_beta)
        found = normalize(x)
        found = found if gamma is None else found * gamma.reshape(sizes)
        return found if beta is None else found + beta.reshape(sizes)

    return kernel


def l2_norm(call: Call) -> Kernel:
    """Divides by the root of the sum of squares of the last three dimensions."""
    call.takes("x")
    epsilon = call.number("epsilon", 1e-6)
    if call.rank("x") < 3:
        raise call.refuse(f"{call.rank('x')} dimensions, not 3")
    if not call.strict:
        return lambda x: x / (x.square().sum((-3, -2, -1), keepdim=True) + epsilon).sqrt()
    round_, rank = rounding(call.notes), call.rank("x")

    def strict(x: Tensor) -> Tensor:
        total = partial_sums(round_(x.square()), range(rank - 3, rank), round_)
        return x / round_(round_(total + epsilon).sqrt())

    return strict


NORMS: dict[str, Make] = {
    "layer_norm": layer_norm,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
}

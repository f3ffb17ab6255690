"""Operations on single numbers. Definitions: ops/defs/iOS15/{elementwise_unary,elementwise_binary,activation}.py."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from phantom_edge.export.interpreters.mil.call import Call, Kernel, rounding
from phantom_edge.export.interpreters.mil.formats import FORMATS

Make = Callable[[Call], Kernel]


def unary(function: Callable[[Tensor], Tensor], *, integers: bool = False) -> Make:
    """Makes an operation of ``x`` alone."""

    def make(call: Call) -> Kernel:
        call.takes("x")
        if not integers:
            call.needs_float("x")
        return function

    return make


def binary(function: Callable[[Tensor, Tensor], Tensor], *, integers: bool = True) -> Make:
    """Makes an operation of ``x`` and ``y``, broadcast."""

    def make(call: Call) -> Kernel:
        call.takes("x", "y")
        if not integers:
            call.needs_float("x", "y")
        return function

    return make


def with_alpha(function: Callable[[Tensor, float], Tensor]) -> Make:
    """Makes an operation of ``x`` and the number ``alpha``."""

    def make(call: Call) -> Kernel:
        call.takes("x")
        alpha = call.number("alpha")
        return lambda x: function(x, alpha)

    return make


def with_alpha_and_beta(function: Callable[[Tensor, float, float], Tensor]) -> Make:
    """Makes an operation of ``x`` and the numbers ``alpha`` and ``beta``."""

    def make(call: Call) -> Kernel:
        call.takes("x")
        alpha, beta = call.number("alpha"), call.number("beta")
        return lambda x: function(x, alpha, beta)

    return make


def with_epsilon(function: Callable[[Tensor], Tensor], default: float) -> Make:
    """Makes the operation ``function(x + epsilon)``."""

    def make(call: Call) -> Kernel:
        call.takes("x")
        call.needs_float("x")
        epsilon = call.number("epsilon", default)
        if call.strict:
            round_ = rounding(call.notes)
            return lambda x: function(round_(x + epsilon))
        return lambda x: function(x + epsilon)

    return make


def _clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x.clamp(min=0).clamp(max=beta) + (x.clamp(max=0) * alpha).clamp(max=beta)


def per_channel(function: Callable[..., Tensor], *names: str) -> Make:
    """Makes an activation with parameters for each channel, the second dimension."""

    def make(call: Call) -> Kernel:
        call.takes("x", *names)
        sizes = [-1 if axis == 1 else 1 for axis in range(call.rank("x"))]
        return lambda x, *rest: function(x, *(one.reshape(sizes) for one in rest))

    return make


def gelu(call: Call) -> Kernel:
    """GELU; ``mode`` chooses the exact form or one of two approximations."""
    call.takes("x")
    mode = call.choice("mode", "EXACT", tuple(GELU))
    if call.strict:
        round_ = rounding(call.notes)
        return lambda x: GELU[mode](x, round_)
    if mode == "SIGMOID_APPROXIMATION":
        return lambda x: x * torch.sigmoid(1.702 * x)
    approximate = "tanh" if mode == "TANH_APPROXIMATION" else "none"
    return lambda x: functional.gelu(x, approximate=approximate)


Round = Callable[[Tensor], Tensor]


def _strict_exact(x: Tensor, r: Round) -> Tensor:
    return r(0.5 * x) * r(1 + r(torch.erf(r(x * r(torch.tensor(math.sqrt(0.5)))))))


def _strict_tanh(x: Tensor, r: Round) -> Tensor:
    inside = r(r(torch.tensor(math.sqrt(2 / math.pi))) * r(x + r(r(torch.tensor(0.044715)) * r(r(x * x) * x))))
    return r(0.5 * x) * r(1 + r(torch.tanh(inside)))


def _strict_sigmoid(x: Tensor, r: Round) -> Tensor:
    return x * r(torch.sigmoid(r(r(torch.tensor(1.702)) * x)))


GELU: dict[str, Callable[[Tensor, Round], Tensor]] = {
    "EXACT": _strict_exact,
    "TANH_APPROXIMATION": _strict_tanh,
    "SIGMOID_APPROXIMATION": _strict_sigmoid,
}


def cast(call: Call) -> Kernel:
    """Converts to the format ``dtype``; floats are truncated to integers."""
    call.takes("x")
    wanted = FORMATS[call.format("dtype")].tensor
    if wanted is torch.bool:
        return lambda x: x != 0
    if wanted in (torch.int8, torch.uint8, torch.int16) and call.is_float("x"):
        return lambda x: x.to(torch.int32).to(wanted)
    if call.format("dtype") == "uint16":
        return lambda x: x.to(torch.int32) & 0xFFFF
    return lambda x: x.to(wanted)


def select(call: Call) -> Kernel:
    """``a`` where ``cond`` holds, ``b`` elsewhere."""
    call.takes("cond", "a", "b")
    return torch.where


def _scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(x * beta)


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros(()))


def _softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * _softplus(beta * x)


ELEMENTWISE: dict[str, Make] = {
    "abs": unary(torch.abs, integers=True),
    "acos": unary(torch.acos),
    "asin": unary(torch.asin),
    "atan": unary(torch.atan),
    "atanh": unary(torch.atanh),
    "ceil": unary(torch.ceil),
    "cos": unary(torch.cos),
    "cosh": unary(torch.cosh),
    "erf": unary(torch.erf),
    "exp": unary(torch.exp),
    "exp2": unary(torch.exp2),
    "floor": unary(torch.floor),
    "logical_not": unary(torch.logical_not, integers=True),
    "relu": unary(torch.relu),
    "relu6": unary(functional.relu6),
    "round": unary(torch.round),
    "sigmoid": unary(torch.sigmoid),
    "sign": unary(torch.sign, integers=True),
    "silu": unary(functional.silu),
    "sin": unary(torch.sin),
    "sinh": unary(torch.sinh),
    "softplus": unary(_softplus),
    "softsign": unary(functional.softsign),
    "sqrt": unary(torch.sqrt),
    "square": unary(torch.square, integers=True),
    "tan": unary(torch.tan),
    "tanh": unary(torch.tanh),
    "inverse": with_epsilon(torch.reciprocal, 1e-4),
    "log": with_epsilon(torch.log, 1e-45),
    "rsqrt": with_epsilon(torch.rsqrt, 1e-12),
    "clamped_relu": with_alpha_and_beta(_clamped_relu),
    "clip": with_alpha_and_beta(torch.clamp),
    "elu": with_alpha(functional.elu),
    "leaky_relu": with_alpha(functional.leaky_relu),
    "linear_activation": with_alpha_and_beta(lambda x, alpha, beta: alpha * x + beta),
    "scaled_tanh": with_alpha_and_beta(_scaled_tanh),
    "sigmoid_hard": with_alpha_and_beta(lambda x, alpha, beta: (alpha * x + beta).clamp(0, 1)),
    "threshold": with_alpha(lambda x, alpha: x.clamp(min=alpha)),
    "thresholded_relu": with_alpha(lambda x, alpha: torch.where(x >= alpha, x, torch.zeros(()))),
    "prelu": per_channel(lambda x, alpha: x.clamp(min=0) + x.clamp(max=0) * alpha, "alpha"),
    "softplus_parametric": per_channel(_softplus_parametric, "alpha", "beta"),
    "gelu": gelu,
    "cast": cast,
    "select": select,
    "add": binary(torch.add),
    "sub": binary(torch.sub),
    "mul": binary(torch.mul),
    "real_div": binary(torch.div, integers=False),
    "floor_div": binary(torch.floor_divide),
    "mod": binary(torch.remainder),
    "pow": binary(torch.pow),
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "equal": binary(torch.eq),
    "not_equal": binary(torch.ne),
    "greater": binary(torch.gt),
    "greater_equal": binary(torch.ge),
    "less": binary(torch.lt),
    "less_equal": binary(torch.le),
    "logical_and": binary(torch.logical_and),
    "logical_or": binary(torch.logical_or),
    "logical_xor": binary(torch.logical_xor),
}

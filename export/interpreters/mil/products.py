"""Products of matrices and convolutions. Definitions: ops/defs/iOS15/{linear,conv}.py."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from phantom_edge.export.interpreters.mil.call import Call, Kernel

Make = Callable[[Call], Kernel]

CONV: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def linear(call: Call) -> Kernel:
    """``x`` (..., columns) by ``weight`` (rows, columns), plus ``bias`` (rows)."""
    call.takes("x", "weight")
    call.takes_if_given("bias")
    return functional.linear


def matmul(call: Call) -> Kernel:
    """Multiplies matrices in the last two dimensions, either transposed first by its flag."""
    call.takes("x", "y")
    left, right = call.flag("transpose_x", False), call.flag("transpose_y", False)
    if left and right:
        return lambda x, y: x.mT @ y.mT
    if left:
        return lambda x, y: x.mT @ y
    if right:
        return lambda x, y: x @ y.mT
    return torch.matmul


def einsum(call: Call) -> Kernel:
    """Einstein summation by ``equation``; dimensions of 1 are broadcast."""
    call.takes_all("values")
    equation = call.text("equation", "")
    return lambda *values: torch.einsum(equation, *values)


def padding(
    pad_type: str, pad: Sequence[int], sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding before and after each spatial dimension. "same" puts an odd one after, "same_lower" before."""
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        return list(zip(pad[::2], pad[1::2], strict=True))
    found = []
    for size, width, stride in zip(sizes, kernel, strides, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + width - size)
        less, more = total // 2, total - total // 2
        found.append((less, more) if pad_type == "same" else (more, less))
    return found


def flat(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Padding in the order of torch's ``pad``: the last dimension first."""
    return [one for pair in reversed(pairs) for one in pair]


PAD_TYPES = ("valid", "same", "same_lower", "custom")


def conv(call: Call) -> Kernel:
    """Convolves (N, C, spatial...) with ``weight`` (rows, C / groups, kernel...)."""
    call.takes("x", "weight")
    call.takes_if_given("bias")
    spatial = call.rank("x") - 2
    if spatial not in CONV:
        raise call.refuse(f"{spatial} spatial dimensions")
    run = CONV[spatial]
    strides, dilations = (call.whole_numbers(name, (1,) * spatial) for name in ("strides", "dilations"))
    groups = call.whole_number("groups", 1)
    pad_type = call.choice("pad_type", "valid", PAD_TYPES)
    pad = call.whole_numbers("pad", (0,) * 2 * spatial)
    if len(pad) != 2 * spatial or min(pad) < 0:
        raise call.refuse(f"pad {pad}")

    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        reach = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
        pairs = padding(pad_type, pad, x.shape[2:], reach, strides)
        if all(before == after for before, after in pairs):
            return run(x, weight, bias, strides, [before for before, _ in pairs], dilations, groups)
        return run(functional.pad(x, flat(pairs)), weight, bias, strides, 0, dilations, groups)

    return kernel


def conv_transpose(call: Call) -> Kernel:
    """Transposed convolution of (N, C, spatial...) by ``weight`` (C, rows / groups, kernel...), cropped by ``pad``."""
    call.takes("x", "weight")
    call.takes_if_given("bias")
    spatial = call.rank("x") - 2
    if spatial not in TRANSPOSED:
        raise call.refuse(f"{spatial} spatial dimensions")
    run = TRANSPOSED[spatial]
    strides, dilations = (call.whole_numbers(name, (1,) * spatial) for name in ("strides", "dilations"))
    groups = call.whole_number("groups", 1)
    pad_type = call.choice("pad_type", "valid", ("valid", "custom"))
    pad = call.whole_numbers("pad", (0,) * 2 * spatial)
    pairs = padding(pad_type, pad, (0,) * spatial, (0,) * spatial, strides)
    if call.has("output_shape") and call.whole_numbers("output_shape") != call.operation.outputs[0].shape:
        raise call.refuse("output_shape is not that of the output")

    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        found = run(x, weight, bias, strides, 0, 0, groups, dilations)
        for axis, (before, after) in enumerate(pairs, 2):
            found = found.narrow(axis, before, found.shape[axis] - before - after)
        return found

    return kernel


PRODUCTS: dict[str, Make] = {
    "linear": linear,
    "matmul": matmul,
    "einsum": einsum,
    "conv": conv,
    "conv_transpose": conv_transpose,
}

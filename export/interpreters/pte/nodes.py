"""XNNPACK's nodes in torch. Definitions: xnnpack.h, and ExecuTorch's backends/xnnpack/runtime/XNNCompiler.cpp.

Weights of integers arrive dequantized, and inputs already rounded where they are.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phantom_edge.export.interpreters.pte.container import refuse
from phantom_edge.export.interpreters.pte.payload import XnnNode

Kernel = Callable[[XnnNode, Sequence[Tensor]], Tensor]
"""Computes a node's output from its inputs, which it never alters."""

CONVERT, PRODUCT = "XNNConvert", "XNNFullyConnected"
"""The node that rounds, and the only one that reads rounded values."""


def _plain(compute: Callable[..., Tensor], inputs: int) -> Kernel:
    """Kernel of a node without parameters."""

    def kernel(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
        if len(given) != inputs or node.about:
            raise refuse(f"XNNPACK's node {node.type} of {len(given)} inputs and {list(node.about)}")
        return compute(*given)

    return kernel


def _integers(node: XnnNode, name: str) -> list[int]:
    found = node.about[name]
    assert isinstance(found, list), name
    if "num_dims" in node.about and len(found) != node.about["num_dims"]:
        raise refuse(f"XNNPACK's node {node.type} of {node.about['num_dims']} dimensions with {name} {found}")
    return found


def _number(node: XnnNode, name: str) -> int:
    found = node.about[name]
    assert isinstance(found, int), name
    return found


def _takes(node: XnnNode, *names: str) -> None:
    """Refuses parameters that the kernel does not use."""
    unknown = set(node.about) - set(names)
    if unknown:
        raise refuse(f"XNNPACK's node {node.type} with {sorted(unknown)}")


def product(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
    """``x @ weight.T + bias``."""
    _takes(node)
    return F.linear(*given)


def convolution(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
    """Convolves pictures (N, H, W, C) with filters (rows, height, width, C / groups)."""
    x, weight = given[:2]
    bias = given[2] if len(given) > 2 else None
    sides = [_number(node, f"padding_{side}") for side in ("left", "right", "top", "bottom")]
    stride, dilation, kernel, adjustment = (
        [_number(node, f"{what}_{side}") for side in ("height", "width")]
        for what in ("subsampling", "dilation", "kernel", "adjustment")
    )
    groups = _number(node, "groups")
    rows, columns = _number(node, "group_output_channels"), _number(node, "group_input_channels")
    if list(weight.shape) != [rows * groups, *kernel, columns] or any(adjustment):
        raise refuse(f"XNNPACK's node {node.type} whose filter is {tuple(weight.shape)}")
    padded = F.pad(x.permute(0, 3, 1, 2), sides)
    found = F.conv2d(padded, weight.permute(0, 3, 1, 2), bias, stride, 0, dilation, groups)
    return found.permute(0, 2, 3, 1)


def joined(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
    """Concatenates along ``axis``."""
    _takes(node, "axis")
    return torch.cat(list(given), dim=_number(node, "axis"))


def transposed(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
    """Moves dimension ``perm[i]`` to i."""
    _takes(node, "num_dims", "perm")
    (x,) = given
    return x.permute(_integers(node, "perm"))


def reshaped(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
    """Reshapes; a dimension of 0 is inferred from the others."""
    _takes(node, "num_dims", "new_shape")
    (x,) = given
    return x.reshape([size or -1 for size in _integers(node, "new_shape")])


def sliced(node: XnnNode, given: Sequence[Tensor]) -> Tensor:
    """Slices ``sizes`` numbers from ``offsets`` on."""
    _takes(node, "num_dims", "offsets", "sizes")
    (x,) = given
    starts, sizes = _integers(node, "offsets"), _integers(node, "sizes")
    if len(starts) != x.ndim or not all(sizes):
        raise refuse(f"XNNPACK's node {node.type} of {x.ndim} dimensions with sizes {sizes}")
    for axis, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        x = x.narrow(axis, start, size)
    return x


NODES: Mapping[str, Kernel] = {
    PRODUCT: product,
    "XNNConv2d": convolution,
    "XNNConcatenate2": joined,
    "XNNConcatenate3": joined,
    "XNNConcatenate4": joined,
    "XNNConcatenate5": joined,
    "XNNStaticTranspose": transposed,
    "XNNStaticReshape": reshaped,
    "XNNStaticSlice": sliced,
    "XNNBatchMatrixMultiply": _plain(torch.matmul, 2),
    "XNNAdd": _plain(torch.add, 2),
    "XNNSubtract": _plain(torch.subtract, 2),
    "XNNMultiply": _plain(torch.multiply, 2),
    "XNNDiv": _plain(torch.divide, 2),
    "XNNMinimum": _plain(torch.minimum, 2),
    "XNNMaximum": _plain(torch.maximum, 2),
    "XNNSoftmax": _plain(lambda x: x.softmax(-1), 1),
    "XNNGelu": _plain(F.gelu, 1),
    "XNNSigmoid": _plain(torch.sigmoid, 1),
    "XNNTanh": _plain(torch.tanh, 1),
    "XNNExp": _plain(torch.exp, 1),
    "XNNLog": _plain(torch.log, 1),
    "XNNAbs": _plain(torch.abs, 1),
    "XNNNegate": _plain(torch.neg, 1),
    "XNNSquare": _plain(torch.square, 1),
    "XNNSquareRoot": _plain(torch.sqrt, 1),
    "XNNReciprocalSquareRoot": _plain(torch.rsqrt, 1),
    "XNNFloor": _plain(torch.floor, 1),
    "XNNCeiling": _plain(torch.ceil, 1),
    "XNNCopy": _plain(torch.clone, 1),
}

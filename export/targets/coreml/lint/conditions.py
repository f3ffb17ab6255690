"""Conditions over one operation; each is true where its rule is broken."""

from collections.abc import Callable, Iterable

import numpy as np

from phantom_edge.export.interpreters.mil import Constant
from phantom_edge.export.targets.coreml.lint.nodes import Node
from phantom_edge.export.targets.coreml.lint.operations import LISTED, PRODUCTS, SLICES, STATE

Condition = Callable[[Node], bool]

HALF = {"float16", "int8", "uint8", "int16", "uint16", "bool"}
"""Formats of data; bool is the result of comparisons."""
MOST_RANK = 5
WIDEST, MOST_CHANNELS = 16384, 65536
LINE = 32
"""Float16 numbers in the 64 bytes to which a last axis is padded."""
KERNEL_WIDTH, KERNEL_HEIGHT = 13, 29
MOST_COMPARED = 2048
STATE_MULTIPLE = 32
PACKAGE_BYTES = 2**30
PALETTE_LEVELS = 16
INTEGERS = {"constexpr_affine_dequantize", "constexpr_blockwise_shift_scale", "constexpr_sparse_blockwise_shift_scale"}
FACTORS = {
    "tile": "reps",
    "pixel_shuffle": "upscale_factor",
    "pixel_unshuffle": "downscale_factor",
    "depth_to_space": "block_size",
    "space_to_depth": "block_size",
}
BOUNDS = ("begin", "end", "size", "stride")


def is_one_of(types: Iterable[str]) -> Condition:
    """An operation of these types."""
    known = frozenset(types)
    return lambda node: node.type in known


def is_unlisted(node: Node) -> bool:
    """An operation that no source mentions."""
    return node.type not in LISTED


def has_other_formats(node: Node) -> bool:
    """Data of other formats than those of the engine."""
    return any(one.dtype not in HALF for one in node.data)


def is_too_deep(node: Node) -> bool:
    """More dimensions than the engine has."""
    return any(len(one.shape) > MOST_RANK for one in node.data)


def is_flexible(node: Node) -> bool:
    """A size that may differ from run to run."""
    return any(None in one.shape for one in node.data)


def is_too_wide(node: Node) -> bool:
    """The last axes are width, height and channels, from the end."""
    return any(_longest(one.shape[-2:]) > WIDEST or _longest(one.shape[-3:-2]) > MOST_CHANNELS for one in node.data)


def has_many_channels(node: Node) -> bool:
    """Channels that fit by one source, and not by another."""
    return any(WIDEST < _longest(one.shape[-3:-2]) <= MOST_CHANNELS for one in node.data)


def _size(size: int | None) -> int:
    return size or 0


def _longest(sizes: Iterable[int | None]) -> int:
    return max(map(_size, sizes), default=0)


def ends_in_one(node: Node) -> bool:
    """An output has a last axis of 1."""
    return any(len(one.shape) > 1 and one.shape[-1] == 1 for one in node.outputs)


def ends_short(node: Node) -> bool:
    """An output has a last axis of 2 to 31."""
    return any(len(one.shape) > 1 and 1 < _size(one.shape[-1]) < LINE for one in node.outputs)


def has_large_kernel(node: Node) -> bool:
    """A convolution over more columns or rows than one pass takes."""
    weight = node.value("weight")
    if node.type not in ("conv", "conv_transpose") or weight is None:
        return False
    kernel = weight.shape[2:]
    return _longest(kernel[-1:]) > KERNEL_WIDTH or _longest(kernel[-2:-1]) > KERNEL_HEIGHT


def compares_many(node: Node) -> bool:
    """The largest or smallest of more numbers than float16 can count."""
    x, axis = node.value("x"), node.numbers("axis")
    if node.type not in ("reduce_argmax", "reduce_argmin") or x is None:
        return False
    place = axis[0] if axis else -1
    return _longest(x.shape[place:][:1]) > MOST_COMPARED


def slices_at_runtime(node: Node) -> bool:
    """A slice whose place another operation or the host computes."""
    return node.type in SLICES and any(name in node.reads and not node.is_fixed(name) for name in BOUNDS)


def multiplies_without_conv(node: Node) -> bool:
    """A product with weights that is not written as a convolution."""
    return node.type == "linear" or (node.type == "matmul" and (node.is_fixed("x") or node.is_fixed("y")))


def multiplies_in_five_dimensions(node: Node) -> bool:
    """A product whose operands have five dimensions, the second more than 1 deep; linear, any five."""
    deep = [one.shape for one in node.data if len(one.shape) >= MOST_RANK]
    if node.type == "linear":
        return bool(deep)
    return node.type in PRODUCTS and any(shape[1] != 1 for shape in deep)


def repeats_by_odd_factors(node: Node) -> bool:
    """Repeated or reordered by a number with other prime factors than 2 and 3."""
    return any(_is_odd(factor) for factor in node.numbers(FACTORS.get(node.type, "")) or ())


def _is_odd(factor: int) -> bool:
    for prime in (2, 3):
        while factor > 1 and factor % prime == 0:
            factor //= prime
    return factor > 1


def reads_blocks(node: Node) -> bool:
    """Integer weights with several scales in a row, or none for each row."""
    return any(_is_in_blocks(node, parameter, weight) for parameter, weight in node.weights.items())


def reads_integers(node: Node) -> bool:
    """Integer weights with a scale for the tensor, or for each row."""
    return any(
        weight.type in INTEGERS and not _is_in_blocks(node, parameter, weight)
        for parameter, weight in node.weights.items()
    )


def _is_in_blocks(node: Node, parameter: str, weight: Node) -> bool:
    scale = weight.value("scale")
    if weight.type not in INTEGERS or weight.type == "constexpr_affine_dequantize" or scale is None:
        return False
    whole = weight.outputs[-1].shape
    rows = _rows_axis(node, parameter) % max(1, len(whole))
    return any(
        groups != 1 and not (axis == rows and groups == size)
        for axis, (groups, size) in enumerate(zip(scale.shape, whole, strict=False))
    )


def _rows_axis(node: Node, parameter: str) -> int:
    """Returns the axis of a weight that becomes channels of the result."""
    if node.type == "matmul" and parameter == "y":
        return -2 if (node.numbers("transpose_y") or (0,))[0] else -1
    return 1 if node.type == "conv_transpose" else 0


def reads_small_palettes(node: Node) -> bool:
    """Weights of 4 bits, each an index into a palette, and no state in the function."""
    return not node.place.has_states and _has_small_palettes(node)


def reads_small_palettes_beside_state(node: Node) -> bool:
    """The same where there is state."""
    return node.place.has_states and _has_small_palettes(node)


def _has_small_palettes(node: Node) -> bool:
    for weight in node.weights.values():
        table = weight.value("lut")
        if weight.type == "constexpr_lut_to_dense" and table is not None:
            levels = table.shape[-2:][:1]  # (groups..., levels, numbers), or for iOS 16 (levels,)
            if levels == (PALETTE_LEVELS,):
                return True
    return False


def has_uneven_state(node: Node) -> bool:
    """State whose rows are no multiple of 32 numbers."""
    state = node.value("input")
    return node.type in STATE and state is not None and _size((state.shape or (1,))[-1]) % STATE_MULTIPLE != 0


def is_in_large_package(node: Node) -> bool:
    """Weights of more than a GiB in one package."""
    return node.place.weight_bytes > PACKAGE_BYTES


def holds_minus_infinity(node: Node) -> bool:
    """A number -inf beside data, as masks have it; weights are not searched."""
    return any(
        isinstance(value, Constant) and value.number.is_float and bool(np.isneginf(value.array()).any())
        for parameter, values in node.reads.items()
        if parameter not in ("weight", "bias") and node.type not in PRODUCTS - {"scaled_dot_product_attention"}
        for value in values
    )

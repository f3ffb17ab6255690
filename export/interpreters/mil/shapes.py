"""Operations that move or repeat numbers. Definitions: ops/defs/*/tensor_{transformation,operation}.py."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from phantom_edge.export.interpreters.mil.call import Call, Kernel, Refused

Make = Callable[[Call], Kernel]


def reshape(call: Call) -> Kernel:
    """Reshapes; 0 keeps a dimension, counted from the last one since iOS 17, and -1 is inferred."""
    call.takes("x")
    numbers = call.numbers("shape")
    fixed, from_last = numbers.fixed, call.opset >= 7
    if fixed is not None and 0 not in fixed:
        return lambda x: x.reshape(fixed)
    return lambda *taken: taken[0].reshape(_without_zeros(taken[0].shape, numbers.of(taken), from_last))


def _without_zeros(old: Sequence[int], new: Sequence[int], from_last: bool) -> list[int]:
    if not from_last and 0 in new and len(old) != len(new):
        raise Refused(f"0 in shape {tuple(new)} for {tuple(old)}")
    first = len(old) - len(new)
    return [(old[first + one] if first + one >= 0 else 1) if size == 0 else size for one, size in enumerate(new)]


def transpose(call: Call) -> Kernel:
    """Reorders dimensions by ``perm``."""
    call.takes("x")
    perm = call.whole_numbers("perm")
    return lambda x: x.permute(perm)


def expand_dims(call: Call) -> Kernel:
    """Adds dimensions of 1 at ``axes`` of the result."""
    call.takes("x")
    given = call.whole_numbers("axes")
    rank = call.rank("x") + len(given)
    axes = call.axes("axes", (), rank)

    def kernel(x: Tensor) -> Tensor:
        for axis in axes:
            x = x.unsqueeze(axis)
        return x

    return kernel


def squeeze(call: Call) -> Kernel:
    """Removes the dimensions of 1, or those among ``axes``."""
    call.takes("x")
    axes = call.axes("axes", range(call.rank("x")), call.rank("x"))
    return lambda x: x.squeeze(axes)


def concat(call: Call) -> Kernel:
    """Concatenates along ``axis``, or interleaves rows. Scalars become a vector."""
    count = call.takes_all("values")
    rank = len(call.typed("values").shape)
    axis, interleaves = call.axis("axis", None, rank), call.flag("interleave", False)
    if interleaves:
        return lambda *values: torch.stack(values, axis + 1).flatten(axis, axis + 1)
    if not rank:
        return lambda *values: torch.stack(values)
    return (lambda x: x) if count == 1 else (lambda *values: torch.cat(values, axis))


def stack(call: Call) -> Kernel:
    """Stacks along a new dimension."""
    call.takes_all("values")
    axis = call.axis("axis", None, len(call.typed("values").shape) + 1)
    return lambda *values: torch.stack(values, axis)


def split(call: Call) -> Kernel:
    """Splits into ``num_splits`` equal parts, or parts of ``split_sizes``."""
    call.takes("x")
    axis = call.axis("axis", None, call.rank("x"))
    count = call.whole_number("num_splits") if call.has("num_splits") else None
    if call.has("split_sizes"):
        sizes = list(call.whole_numbers("split_sizes"))
        if count not in (None, len(sizes)):
            raise call.refuse(f"{count} parts of {len(sizes)} sizes")
        return lambda x: torch.split(x, sizes, axis)
    if count is None or count < 1:
        raise call.refuse("neither num_splits nor split_sizes is given")
    parts = count

    def kernel(x: Tensor) -> tuple[Tensor, ...]:
        if x.shape[axis] % parts:
            raise Refused(f"{x.shape[axis]} cannot be split into {parts} equal parts")
        return x.tensor_split(parts, axis)

    return kernel


def tile(call: Call) -> Kernel:
    """Repeats ``x`` ``reps`` times along each dimension."""
    call.takes("x")
    reps = call.numbers("reps")
    return lambda *taken: taken[0].repeat(reps.of(taken))


def pad(call: Call) -> Kernel:
    """Pads; ``pad`` holds begin and end of the last dimensions, the outermost first."""
    call.takes("x")
    sizes = call.numbers("pad")
    mode = call.choice("mode", "constant", ("constant", "reflect", "replicate"))
    value = call.number("constant_val", 0.0)

    def kernel(*taken: Tensor) -> Tensor:
        x, flat = taken[0], sizes.of(taken)
        if len(flat) % 2 or len(flat) > 2 * x.ndim or min(flat, default=0) < 0:
            raise Refused(f"pad {flat} for {x.ndim} dimensions")
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        if mode == "constant":
            return functional.pad(x, [one for pair in reversed(pairs) for one in pair], value=value)
        for axis, (before, after) in enumerate(pairs, x.ndim - len(pairs)):
            x = x.index_select(axis, _border(x.shape[axis], before, after, mode))
        return x

    return kernel


def _border(size: int, before: int, after: int, mode: str) -> Tensor:
    places = torch.arange(-before, size + after)
    if mode == "replicate":
        return places.clamp(0, size - 1)
    if max(before, after) >= size:
        raise Refused(f"{size} numbers cannot be reflected {max(before, after)} far")
    return (size - 1) - ((size - 1) - places.abs()).abs()


def space_to_depth(call: Call) -> Kernel:
    """(n, c, h, w) to (n, b*b*c, h/b, w/b); the place in a block is the outer part of the channel."""
    call.takes("x")
    b = call.whole_number("block_size")

    def kernel(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)

    return kernel


def depth_to_space(call: Call) -> Kernel:
    """Inverse of space_to_depth."""
    call.takes("x")
    b = call.whole_number("block_size")

    def kernel(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)

    return kernel


def pixel_shuffle(call: Call) -> Kernel:
    """Same as torch's pixel_shuffle."""
    call.takes("x")
    factor = call.whole_number("upscale_factor")
    return lambda x: functional.pixel_shuffle(x, factor)


def pixel_unshuffle(call: Call) -> Kernel:
    """Same as torch's pixel_unshuffle."""
    call.takes("x")
    factor = call.whole_number("downscale_factor")
    return lambda x: functional.pixel_unshuffle(x, factor)


def reverse(call: Call) -> Kernel:
    """Reverses along ``axes``, or all."""
    call.takes("x")
    axes = call.axes("axes", range(call.rank("x")), call.rank("x"))
    return lambda x: x.flip(axes)


def sliding_windows(call: Call) -> Kernel:
    """Windows of ``size`` along ``axis``, as a new dimension after it."""
    call.takes("x")
    axis = call.axis("axis", None, call.rank("x"))
    size, stride = call.whole_number("size"), call.whole_number("stride", 1)
    return lambda x: x.unfold(axis, size, stride).movedim(-1, axis + 1)


def flatten2d(call: Call) -> Kernel:
    """Flattens the dimensions before ``axis`` into one, and those from it on into another."""
    call.takes("x")
    axis = call.whole_number("axis", 1)
    return lambda x: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def identity(call: Call) -> Kernel:
    """``x`` itself."""
    call.takes("x")
    return lambda x: x


SHAPES: dict[str, Make] = {
    "reshape": reshape,
    "transpose": transpose,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "concat": concat,
    "stack": stack,
    "split": split,
    "tile": tile,
    "pad": pad,
    "space_to_depth": space_to_depth,
    "depth_to_space": depth_to_space,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "reverse": reverse,
    "sliding_windows": sliding_windows,
    "flatten2d": flatten2d,
    "identity": identity,
}

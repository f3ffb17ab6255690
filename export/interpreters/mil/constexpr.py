"""Compressed weights: the ``constexpr_*`` operations, which a device decodes when it loads a program.

Numbers are decoded by the definitions in coremltools (ops/defs/iOS16/constexpr_ops.py, iOS18/compression.py), in
float32 from the stored numbers; the caller rounds them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phantom_edge.export.interpreters.mil.blobs import AGAIN
from phantom_edge.export.interpreters.mil.formats import FORMATS, unpacked
from phantom_edge.export.interpreters.mil.program import Constant, Operation, Typed
from phantom_edge.foundation.errors import EdgeError

FLAT_LUTS = (2, 4, 16, 64, 256)
PACKED = {"indices", "mask"}
"""Parameters that iOS 16 packs into bytes, with a separate shape."""


@dataclass(frozen=True)
class Compressed:
    """Stored form of one compressed weight.

    ``parts`` maps parameters ("data", "scale", "offset", "indices", "lut", "mask", ...) to constants, or to the name
    of another compressed weight that computes them.
    """

    type: str
    output: Typed
    parts: Mapping[str, Constant | str]

    def array(self, part: str) -> NDArray[Any]:
        """Stored numbers of one part, below 8 bits one in a byte; packed ones in the weight's shape."""
        found = self.parts[part]
        if isinstance(found, str):
            raise EdgeError(f"'{part}' of '{self.output.name}' is computed by '{found}'", f"look at '{found}'")
        if part in PACKED and "shape" in self.parts:
            try:
                return _unpacked(self, part)
            except _Misfit as error:
                raise EdgeError(f"'{self.output.name}' cannot be decoded: {error}", AGAIN) from None
        return found.array()


def compressed(operation: Operation) -> Compressed:
    """Stored form of the weight that ``operation`` decodes. Raises EdgeError where it is not understood."""
    required, optional = CONSTEXPR[operation.type]
    sixteen = SIXTEEN.get(operation.type)
    if sixteen is not None and "shape" in operation.inputs:
        required, optional = sixteen, ()
    names = set(operation.inputs)
    if not set(required) <= names <= {*required, *optional}:
        odd = sorted(names.symmetric_difference(required) - set(optional))
        raise _wrong(operation, f"parameter '{odd[0]}' is {'not understood' if odd[0] in names else 'missing'}")
    parts = {}
    for name, values in operation.inputs.items():
        if len(values) != 1:
            raise _wrong(operation, f"parameter '{name}' has {len(values)} values")
        parts[name] = values[0]
    count = 2 if operation.type in SPARSE else 1
    if len(operation.outputs) != count:
        raise _wrong(operation, f"it has {len(operation.outputs)} outputs, not {count}")
    return Compressed(operation.type, operation.outputs[-1], parts)


Read = Callable[[str], Tensor]


def decode(operation: Operation, read: Read) -> tuple[Tensor, ...]:
    """Decodes ``operation``; ``read`` returns a parameter's tensor: floats as float32, integers as stored.

    Raises EdgeError where sizes do not fit each other.
    """
    about = compressed(operation)
    try:
        found = DECODE[operation.type](about, read)
    except _Misfit as error:
        raise _wrong(operation, str(error)) from None
    for tensor, declared in zip(found, operation.outputs, strict=True):
        if tuple(tensor.shape) != declared.shape or tensor.dtype != FORMATS[declared.dtype].tensor:
            raise _wrong(operation, f"it gives {tuple(tensor.shape)}, but {declared.shape} is declared")
    return found


class _Misfit(Exception):
    """Sizes that do not fit."""


def _wrong(operation: Operation, why: str) -> EdgeError:
    return EdgeError(f"{operation} cannot be decoded: {why}", AGAIN)


def _whole_number(about: Compressed, part: str, read: Read) -> int:
    found = read(part)
    if found.numel() != 1 or found.is_floating_point():
        raise _Misfit(f"'{part}' is no whole number")
    return int(found.item())


def _axis(value: int, rank: int) -> int:
    if not -rank <= value < rank:
        raise _Misfit(f"axis {value} is outside {rank} dimensions")
    return value % rank


def _blocks(data: Tensor, groups: tuple[int, ...]) -> list[int]:
    """Shape that splits each dimension of ``data`` into groups and their size."""
    if data.ndim != len(groups) or any(
        not group or size % group for size, group in zip(data.shape, groups, strict=True)
    ):
        raise _Misfit(f"{tuple(data.shape)} is no multiple of {groups}")
    return [part for size, group in zip(data.shape, groups, strict=True) for part in (group, size // group)]


def _by_block(data: Tensor, scale: Tensor, offset: Tensor | None) -> Tensor:
    """``(data - offset) * scale``, with an offset and a scale for each block of ``data``."""
    split = _blocks(data, tuple(scale.shape))
    beside = [part for group in scale.shape for part in (group, 1)]
    found = data.to(torch.float32, copy=True).view(split)
    if offset is not None:
        if offset.shape != scale.shape:
            raise _Misfit(f"offsets {tuple(offset.shape)} and scales {tuple(scale.shape)} differ in shape")
        found -= offset.to(torch.float32).reshape(beside)
    found *= scale.reshape(beside)
    return found.view(data.shape)


def _from_table(indices: Tensor, table: Tensor, vector_axis: int | None) -> Tensor:
    """Looks up ``indices`` in ``table`` (groups..., entries, vector); vectors lie along ``vector_axis``."""
    rank = indices.ndim
    if table.ndim != rank + 2:
        raise _Misfit(f"a table of {table.ndim} dimensions for indices of {rank}")
    groups, (entries, vector) = tuple(table.shape[:rank]), table.shape[rank:]
    if vector > 1 and vector_axis is None:
        raise _Misfit("a table of vectors without vector_axis")
    split = indices.reshape(_blocks(indices, groups))
    first = split.permute(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
    inside = tuple(first.shape[rank:])
    rows = first.reshape(-1, math.prod(inside))
    if rows.numel() and int(rows.max()) >= entries:
        raise _Misfit(f"index {int(rows.max())} in a table of {entries}")
    tables = table.reshape(-1, entries, vector)
    found = torch.empty(*rows.shape, vector, dtype=table.dtype)
    for number, row in enumerate(rows):  # one by one: indices of 64 bits would take more memory than the weight
        torch.index_select(tables[number], 0, row.int(), out=found[number])
    found = found.view(*groups, *inside, vector)
    axis = _axis(-1 if vector_axis is None else vector_axis, rank)
    order = []
    for one in range(rank):
        order += [one, rank + one] + ([2 * rank] if one == axis else [])
    sizes = [size * (vector if one == axis else 1) for one, size in enumerate(indices.shape)]
    return found.permute(order).reshape(sizes)


def _dense(mask: Tensor, values: Tensor) -> Tensor:
    """``values`` where the mask is 1, zeros elsewhere."""
    there = mask != 0
    if values.ndim != 1 or int(there.sum()) != len(values):
        raise _Misfit(f"{int(there.sum())} places for {tuple(values.shape)} numbers")
    found = torch.zeros(mask.shape, dtype=values.dtype)
    found[there] = values
    return found


def _optional(about: Compressed, part: str, read: Read) -> Tensor | None:
    return read(part) if part in about.parts else None


def _blockwise(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    return (_by_block(read("data"), read("scale"), _optional(about, "offset", read)),)


def _sparse_blockwise(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    mask = read("data_mask")
    dense = _by_block(_dense(mask, read("nonzero_data")), read("scale"), _optional(about, "offset", read))
    return mask, dense[mask != 0]


def _vector_axis(about: Compressed, read: Read) -> int | None:
    return _whole_number(about, "vector_axis", read) if "vector_axis" in about.parts else None


def _lut(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    if "shape" in about.parts:
        table, indices = read("lut"), torch.from_numpy(_unpacked(about, "indices"))
        if not indices.ndim:
            return (table[indices.int()],)
        return (_from_table(indices, table.reshape(*[1] * indices.ndim, -1, 1), None),)
    return (_from_table(read("indices"), read("lut"), _vector_axis(about, read)),)


def _sparse_lut(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    mask, table, axis = read("indices_mask"), read("lut"), _vector_axis(about, read)
    dense = _from_table(_dense(mask, read("indices_nonzero_data")), table, axis)
    if axis is not None:
        mask = mask.repeat_interleave(table.shape[-1], _axis(axis, mask.ndim))
    return mask, dense[mask != 0]


def _sparse(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    mask = torch.from_numpy(_unpacked(about, "mask")) if "shape" in about.parts else read("mask")
    return (_dense(mask, read("nonzero_data")),)


def _affine(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    data, axis = read("quantized_data"), _whole_number(about, "axis", read)
    sizes = [-1 if one == _axis(axis, data.ndim) else 1 for one in range(data.ndim)]
    scale, zero = read("scale"), read("zero_point").float()
    for one in (scale, zero):
        if one.ndim > 1 or (one.ndim and len(one) not in (1, data.shape[axis])):
            raise _Misfit(f"{tuple(one.shape)} scales for {tuple(data.shape)}")
    return ((data.float() - zero.reshape(sizes)) * scale.reshape(sizes),)


def _cast(about: Compressed, read: Read) -> tuple[Tensor, ...]:
    wanted = about.parts["output_dtype"]
    if not isinstance(wanted, Constant) or wanted.source != "fp32":
        raise _Misfit("only fp32 is understood as output_dtype")
    return (read("source_val"),)


def _unpacked(about: Compressed, part: str) -> NDArray[Any]:
    """Unpacks indices or mask of iOS 16 to the weight's shape, one in a byte."""
    data, shape = about.parts[part], about.parts["shape"]
    if isinstance(data, str) or isinstance(shape, str) or data.dtype != "uint8" or shape.number.tensor is None:
        raise _Misfit(f"'{part}' is not packed into bytes")
    bits = 1
    if part == "indices":
        table = about.parts["lut"]
        if isinstance(table, str) or table.count not in FLAT_LUTS:
            raise _Misfit("its table has an odd size")
        bits = table.count.bit_length() - 1
    sizes = [int(one) for one in shape.array().reshape(-1)]
    count = math.prod(sizes)
    if min(sizes, default=1) < 0 or -(-count * bits // 8) != data.count:
        raise _Misfit(f"{data.count} bytes for {count} numbers of {bits} bits")
    packed: NDArray[np.uint8] = data.array().reshape(-1)
    return unpacked(packed, FORMATS[f"uint{bits}"], count).reshape(sizes).copy()


CONSTEXPR: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "constexpr_blockwise_shift_scale": (("data", "scale"), ("offset",)),
    "constexpr_lut_to_dense": (("indices", "lut"), ("vector_axis",)),
    "constexpr_sparse_to_dense": (("nonzero_data", "mask"), ()),
    "constexpr_lut_to_sparse": (("indices_mask", "indices_nonzero_data", "lut"), ("vector_axis",)),
    "constexpr_sparse_blockwise_shift_scale": (("data_mask", "nonzero_data", "scale"), ("offset",)),
    "constexpr_affine_dequantize": (("quantized_data", "zero_point", "scale", "axis"), ()),
    "constexpr_cast": (("source_val", "output_dtype"), ()),
}
"""Required and optional parameters of each operation."""

SIXTEEN = {
    "constexpr_lut_to_dense": ("indices", "lut", "shape"),
    "constexpr_sparse_to_dense": ("nonzero_data", "mask", "shape"),
}
"""Parameters of each operation's form before iOS 18."""

SPARSE = {"constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale"}
"""Operations with two outputs: a mask, and the numbers where it is 1."""

DECODE: dict[str, Callable[[Compressed, Read], tuple[Tensor, ...]]] = {
    "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_lut_to_dense": _lut,
    "constexpr_sparse_to_dense": _sparse,
    "constexpr_lut_to_sparse": _sparse_lut,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise,
    "constexpr_affine_dequantize": _affine,
    "constexpr_cast": _cast,
}

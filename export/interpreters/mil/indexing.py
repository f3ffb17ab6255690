"""Slices, gathers and scatters. Definitions: ops/defs/*/{tensor_transformation,scatter_gather}.py.

Access outside of a tensor is undefined on a device, so it is refused here.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.call import Call, Kernel, Refused, check_indices

Make = Callable[[Call], Kernel]
Slices = Callable[[Sequence[Tensor]], list[slice | int]]


def _slices(call: Call) -> Slices:
    """Slices from begin, end, stride and masks of slice_by_index and slice_update."""
    begin, end = call.numbers("begin"), call.numbers("end")
    rank = call.rank("x")
    stride = call.whole_numbers("stride", (1,) * rank)
    masks = [call.whole_numbers(name, (0,) * rank) for name in ("begin_mask", "end_mask", "squeeze_mask")]
    if any(len(one) != rank for one in (stride, *masks)) or 0 in stride:
        raise call.refuse(f"stride or masks do not fit {rank} dimensions")
    from_begin, to_end, squeezed = masks

    def sliced(begins: Sequence[int], ends: Sequence[int]) -> list[slice | int]:
        if len(begins) != rank or len(ends) != rank:
            raise Refused(f"{len(begins)} begins and {len(ends)} ends for {rank} dimensions")
        return [
            (0 if from_begin[axis] else begins[axis])
            if squeezed[axis]
            else slice(None if from_begin[axis] else begins[axis], None if to_end[axis] else ends[axis], stride[axis])
            for axis in range(rank)
        ]

    if begin.fixed is not None and end.fixed is not None:
        fixed = sliced(begin.fixed, end.fixed)
        return lambda _: fixed
    return lambda taken: sliced(begin.of(taken), end.of(taken))


def slice_by_index(call: Call) -> Kernel:
    """Slices as numpy's basic indexing does."""
    call.takes("x")
    slices = _slices(call)

    def kernel(*taken: Tensor) -> Tensor:
        x, index = taken[0], slices(taken)
        if any(isinstance(one, slice) and one.step < 0 for one in index):
            x, index = _forwards(x, index)
        return x[tuple(index)]

    return kernel


def _forwards(x: Tensor, index: list[slice | int]) -> tuple[Tensor, list[slice | int]]:
    """Applies backward slices by index; returns the rest of the slices, all forward."""
    rest: list[slice | int] = []
    for axis, one in enumerate(index):
        if isinstance(one, slice) and one.step < 0:
            x = x.index_select(axis, torch.tensor(range(*one.indices(x.shape[axis])), dtype=torch.int64))
            one = slice(None)
        rest.append(one)
    return x, rest


def slice_update(call: Call) -> Kernel:
    """Replaces a slice of ``x``, which must lie inside, by ``update``."""
    call.takes("x", "update")
    slices = _slices(call)

    def kernel(*taken: Tensor) -> Tensor:
        x, update, index = taken[0], taken[1], slices(taken)
        for size, one in zip(x.shape, index, strict=True):
            ends = (one.start, one.stop) if isinstance(one, slice) else (one,)
            if any(end is not None and not -size <= end <= size for end in ends):
                raise Refused(f"slice {one} reaches outside {size}")
            if isinstance(one, slice) and one.step < 0:
                raise Refused("an update backwards is not understood")
        found = x.clone()
        place = found[tuple(index)]
        if place.shape != update.shape:
            raise Refused(f"update {tuple(update.shape)} for a slice {tuple(place.shape)}")
        place.copy_(update)
        return found

    return kernel


def slice_by_size(call: Call) -> Kernel:
    """Slices ``size`` numbers from ``begin`` on, or all that follow for -1."""
    call.takes("x")
    begin, size = call.numbers("begin"), call.numbers("size")

    def kernel(*taken: Tensor) -> Tensor:
        x = taken[0]
        for axis, (start, length) in enumerate(zip(begin.of(taken), size.of(taken), strict=True)):
            start += x.shape[axis] if start < 0 else 0
            length = x.shape[axis] - start if length == -1 else length
            if not 0 <= start <= start + length <= x.shape[axis]:
                raise Refused(f"{length} from {start} on reach outside {x.shape[axis]}")
            x = x.narrow(axis, start, length)
        return x

    return kernel


def _batched(kernel: Callable[..., Tensor], batches: int) -> Kernel:
    """Applies ``kernel`` to each entry of the first ``batches`` dimensions."""
    if not batches:
        return kernel

    def run(x: Tensor, indices: Tensor) -> Tensor:
        if x.shape[:batches] != indices.shape[:batches]:
            raise Refused(f"batches {tuple(x.shape)} and {tuple(indices.shape)} differ")
        rows = zip(x.flatten(0, batches - 1), indices.flatten(0, batches - 1), strict=True)
        found = torch.stack([kernel(*row) for row in rows])
        return found.reshape(*x.shape[:batches], *found.shape[1:])

    return run


def _least(call: Call, size: int) -> int:
    """Lowest valid index: before iOS 17, negative ones count from the end."""
    call.flag("validate_indices", False)
    return 0 if call.opset >= 7 else -size


def gather(call: Call) -> Kernel:
    """Entries of ``x`` along ``axis``; (..., indices, ...)."""
    call.takes("x", "indices")
    axis, batches = call.axis("axis", 0, call.rank("x")), call.whole_number("batch_dims", 0)
    if not 0 <= batches <= min(axis, call.rank("indices")):
        raise call.refuse(f"batch_dims {batches} with axis {axis}")
    from_end = _least(call, 1) < 0
    inner = axis - batches

    def kernel(x: Tensor, indices: Tensor) -> Tensor:
        size = x.shape[inner]
        check_indices(indices, size, -size if from_end else 0)
        flat = indices.reshape(-1).int()
        flat = flat.remainder(size) if from_end else flat
        return x.index_select(inner, flat).reshape(*x.shape[:inner], *indices.shape, *x.shape[inner + 1 :])

    return _batched(kernel, batches)


def gather_along_axis(call: Call) -> Kernel:
    """Same as numpy's take_along_axis."""
    call.takes("x", "indices")
    axis = call.axis("axis", 0, call.rank("x"))
    from_end = _least(call, 1) < 0

    def kernel(x: Tensor, indices: Tensor) -> Tensor:
        size = x.shape[axis]
        check_indices(indices, size, -size if from_end else 0)
        return x.gather(axis, (indices.remainder(size) if from_end else indices).long())

    return kernel


def gather_nd(call: Call) -> Kernel:
    """Entries of ``x`` by index vectors in the last dimension of ``indices``."""
    call.takes("x", "indices")
    from_end = _least(call, 1) < 0

    def kernel(x: Tensor, indices: Tensor) -> Tensor:
        return x[_places(x, indices, from_end)]

    return _batched(kernel, call.whole_number("batch_dims", 0))


def _places(x: Tensor, indices: Tensor, from_end: bool) -> tuple[Tensor, ...]:
    places = indices.long().unbind(-1)
    for size, place in zip(x.shape, places, strict=False):
        check_indices(place, size, -size if from_end else 0)
    return places


MODES = {"mul": "prod", "div": "prod", "max": "amax", "min": "amin"}


def _combined(data: Tensor, axis: int, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Combines ``data`` with ``updates`` by ``mode`` at ``index`` along ``axis``; all of one rank."""
    index = index.long()
    if mode == "update":
        return data.scatter(axis, index, updates)
    if mode in ("add", "sub"):
        return data.scatter_add(axis, index, -updates if mode == "sub" else updates)
    return data.scatter_reduce(axis, index, updates.reciprocal() if mode == "div" else updates, MODES[mode])


def _mode(call: Call) -> str:
    mode = call.choice("mode", "add", ("add", "sub", "mul", "div", "max", "min", "update"))
    if mode == "div":
        call.needs_float("data")
    return mode


def scatter_along_axis(call: Call) -> Kernel:
    """Same as numpy's put_along_axis, or combined by ``mode``."""
    call.takes("data", "indices", "updates")
    axis, mode = call.axis("axis", 0, call.rank("data")), _mode(call)
    from_end = _least(call, 1) < 0

    def kernel(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        size = data.shape[axis]
        check_indices(indices, size, -size if from_end else 0)
        return _combined(data, axis, indices.remainder(size), updates, mode)

    return kernel


def scatter(call: Call) -> Kernel:
    """Combines ``data`` with ``updates``, of the shape that gather would return."""
    call.takes("data", "indices", "updates")
    axis, mode = call.axis("axis", 0, call.rank("data")), _mode(call)
    from_end = _least(call, 1) < 0

    def kernel(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        size, outer, inner = data.shape[axis], data.shape[:axis], data.shape[axis + 1 :]
        check_indices(indices, size, -size if from_end else 0)
        rows = updates.reshape(*outer, indices.numel(), *inner)
        flat = indices.remainder(size).reshape(-1, *[1] * len(inner))
        return _combined(data, axis, flat.expand(rows.shape), rows, mode)

    return kernel


def scatter_nd(call: Call) -> Kernel:
    """Combines ``data`` with ``updates``, of the shape that gather_nd would return."""
    call.takes("data", "indices", "updates")
    mode = _mode(call)
    from_end = _least(call, 1) < 0

    def kernel(data: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
        depth = indices.shape[-1]
        row = torch.zeros(indices.shape[:-1], dtype=torch.int64)
        for size, place in zip(data.shape, _places(data, indices, from_end), strict=False):
            row = row * size + place.remainder(size)
        rows = data.reshape(-1, data[(0,) * depth].numel())
        wide = row.reshape(-1, 1).expand(-1, rows.shape[1])
        return _combined(rows, 0, wide, updates.reshape(wide.shape), mode).reshape(data.shape)

    return kernel


INDEXING: dict[str, Make] = {
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "slice_update": slice_update,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "scatter": scatter,
    "scatter_along_axis": scatter_along_axis,
    "scatter_nd": scatter_nd,
}

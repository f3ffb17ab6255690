"""A quantized weight: integers, with scales or palettes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.schemes import MOST_MULTIPLE, Scheme
from phantom_edge.foundation.errors import EdgeError


@dataclass(frozen=True)
class Quantized:
    """A weight (rows, columns) as ``integers`` uint8 (rows, columns), and ``scales`` (rows, groups).

    ``zero_points`` uint8 (rows, groups); None stands for the scheme's middle. Scales are float16 where we choose them,
    so that every target can hold them unchanged. Schemes with palettes have no scales (0 groups); ``palettes``
    (palettes, levels) are float16.
    """

    scheme: Scheme
    integers: Tensor
    scales: Tensor
    zero_points: Tensor | None = None
    palettes: Tensor | None = None

    def dequantize(self) -> Tensor:
        """``(integer - zero point) * scale`` in float32: the definition that every target is compared with.

        The difference is exact; the product is rounded once, and beside a float16 scale not even that. With palettes it
        is ``palettes[row // palette_rows, integer]``.
        """
        rows, columns = self.integers.shape
        if self.palettes is not None:
            assert self.scheme.palette_rows is not None
            palette = torch.arange(rows, dtype=torch.int32) // self.scheme.palette_rows
            places = self.integers.int() + palette[:, None] * self.scheme.levels
            return self.palettes.float().view(-1).index_select(0, places.view(-1)).view(rows, columns)
        grouped = self.integers.view(rows, self.scheme.groups(columns), -1).float()
        zeros = float(self.scheme.middle) if self.zero_points is None else self.zero_points.float()[..., None]
        return ((grouped - zeros) * self.scales.float()[..., None]).view(rows, columns)

    def rows(self, start: int, end: int) -> "Quantized":
        """Rows ``start`` to ``end``; with palettes, ``start`` must be the first row of one."""
        zeros = None if self.zero_points is None else self.zero_points[start:end]
        palettes, size = self.palettes, self.scheme.palette_rows
        if palettes is not None and size is not None:
            assert start % size == 0, (start, size)
            palettes = palettes[start // size : self.scheme.palettes(end)]
        return Quantized(self.scheme, self.integers[start:end], self.scales[start:end], zeros, palettes)


def palettized(scheme: Scheme, integers: Tensor, palettes: Tensor) -> Quantized:
    """A weight of a scheme with palettes, without scales."""
    return Quantized(scheme, integers, torch.empty(len(integers), 0, dtype=torch.float16), None, palettes)


def stacked(parts: list[Quantized]) -> Quantized:
    """Weights of one scheme, one above the other.

    Raises EdgeError where palettes do not end with a part that others follow.
    """
    scheme = parts[0].scheme
    assert all(part.scheme == scheme for part in parts)
    size = scheme.palette_rows
    if size is not None and (broken := [len(part.integers) for part in parts[:-1] if len(part.integers) % size]):
        raise EdgeError(
            f"palettes of {size} rows do not divide the {broken[0]} of a weight that others are joined to",
            "choose int8, or palettes of fewer rows",
        )
    zeros = [part.zero_points for part in parts if part.zero_points is not None]
    palettes = [part.palettes for part in parts if part.palettes is not None]
    return Quantized(
        scheme,
        torch.cat([part.integers for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
        torch.cat(palettes) if palettes else None,
    )


def steps_of(scales: Tensor) -> Tensor | None:
    """The step (rows, 1) of which each row's ``scales`` (rows, groups) are multiples by 1 to MOST_MULTIPLE, float64.

    The largest such step; None where a row has none.
    """
    exact = scales.double()
    largest = exact.abs().amax(1, keepdim=True)
    found = torch.zeros_like(largest)
    for times in range(MOST_MULTIPLE, 0, -1):
        step = largest / times
        fits = ((exact / step).round() * step == exact).all(1, keepdim=True)
        found = torch.where(fits, step, found)
    return found if bool(found.all()) else None


def as_bytes(weight: Quantized) -> Quantized:
    """The same numbers as a weight of scheme ``exact8``, by 8 bits with one scale for each row."""
    steps = steps_of(weight.scales)
    assert steps is not None, "its scales are no multiples of one step"
    rows, columns = weight.integers.shape
    times = (weight.scales.double() / steps).round().to(torch.int16)
    grouped = weight.integers.view(rows, weight.scheme.groups(columns), -1).to(torch.int16) - weight.scheme.middle
    integers = (grouped * times[..., None]).view(rows, columns) + BYTES.middle
    return Quantized(BYTES, integers.to(torch.uint8), steps.to(weight.scales.dtype))


BYTES = Scheme(8, None)


def packed(integers: Tensor) -> Tensor:
    """Integers below 16 (rows, columns), two in a byte, the first in the low half: (rows, ceil(columns / 2))."""
    if integers.shape[1] % 2:
        integers = torch.nn.functional.pad(integers, (0, 1))
    return integers[:, 0::2] | (integers[:, 1::2] << 4)


def unpacked(bytes_: Tensor, columns: int) -> Tensor:
    """Inverse of ``packed``."""
    both = torch.stack([bytes_ & 15, bytes_ >> 4], dim=-1)
    return both.view(len(bytes_), -1)[:, :columns]


LEAST, MOST = 2.0**-14, 65504.0
"""Range of scales: normal float16 numbers."""


def as_float16(scales: Tensor) -> Tensor:
    """The nearest scales in float16, at least the smallest normal number."""
    size = scales.abs().clamp(LEAST, MOST).half().float()
    return torch.where(scales < 0, -size, size)

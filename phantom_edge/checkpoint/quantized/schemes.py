"""Number formats of quantized weights, as data; and what a quantized weight is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_edge.foundation.errors import EdgeError

PALETTE_BITS = (2, 3, 4, 6)
MOST_PALETTE_ROWS = 4096
"""So that palettes never lie across two blocks of rows (``rounding.BLOCK_ROWS``)."""


@dataclass(frozen=True)
class Scheme:
    """Integers of ``bits``, and a scale for every ``group`` neighbours of a row (None: for the whole row).

    Rows are outputs of a linear layer, or words of an embedding. ``symmetric`` ones have their zero in the middle of
    the range, others say where it lies, group by group. ``static_inputs``: what the layer reads is rounded to 8 bits,
    too, with one scale that calibration finds. With ``palette_rows`` there are no scales: so many neighbouring rows
    share a palette of numbers, and integers are places in it, as Apple's Neural Engine reads weights. ``positive``:
    scales are positive, and bfloat16 holds them as float16 does, as ExecuTorch's XNNPACK wants them; others may be
    negative, which puts the number of largest magnitude on the integer that has no counterpart.
    """

    bits: int
    group: int | None
    symmetric: bool = True
    static_inputs: bool = False
    palette_rows: int | None = None
    positive: bool = False

    def __post_init__(self) -> None:
        if self.palette_rows is not None:
            self._check_palette(self.palette_rows)
            return
        if self.bits not in (3, 4, 8):
            raise ValueError(f"bits is {self.bits}, not 3, 4 or 8")
        if self.group is None and (self.bits != 8 or not self.symmetric):
            raise ValueError("group is null, which only symmetric ones of 8 bits have")
        if self.positive and (self.bits == 8 or not self.symmetric):
            raise ValueError("positive is true, which is for symmetric ones of fewer than 8 bits")
        if self.static_inputs and self.group is not None:
            raise ValueError("static_inputs is true, which is for whole rows alone")
        if self.group is not None and (self.group < 16 or self.group & (self.group - 1)):
            raise ValueError(f"group is {self.group}, not a power of two of 16 or more")

    def _check_palette(self, rows: int) -> None:
        if self.bits not in PALETTE_BITS:
            raise ValueError(f"bits is {self.bits}, and palettes have {', '.join(map(str, PALETTE_BITS))}")
        if self.group is not None or not self.symmetric or self.static_inputs or self.positive:
            raise ValueError("palette_rows is given, which leaves no group, zero points, static_inputs or positive")
        if not 0 < rows <= MOST_PALETTE_ROWS or rows & (rows - 1):
            raise ValueError(f"palette_rows is {rows}, not a power of two up to {MOST_PALETTE_ROWS}")

    @property
    def name(self) -> str:
        """Such as int8, w8a8, int4-g32, int4-g32-pos, int4-g128-asym, lut4-r16."""
        if self.palette_rows is not None:
            return f"lut{self.bits}-r{self.palette_rows}"
        if self.static_inputs:
            return "w8a8"
        group = "" if self.group is None else f"-g{self.group}"
        return f"int{self.bits}{group}{'' if self.symmetric else '-asym'}{'-pos' if self.positive else ''}"

    @property
    def levels(self) -> int:
        """How many integers there are: 0 to levels - 1."""
        return int(2**self.bits)

    @property
    def middle(self) -> int:
        """The zero of symmetric ones."""
        return self.levels // 2

    def groups(self, columns: int) -> int:
        """Scales of a row. Raises EdgeError where groups do not divide it, or palettes cannot be packed."""
        if self.palette_rows is not None:
            if columns % 2:
                raise EdgeError(f"palettes are for rows of an even number, not of {columns}", "choose int8")
            return 0
        if self.group is None:
            return 1
        if columns % self.group:
            fitting = [str(size) for size in (128, 64, 32, 16) if columns % size == 0]
            choice = f"groups of {', '.join(fitting)}, or " if fitting else ""
            raise EdgeError(
                f"groups of {self.group} do not divide rows of {columns}", f"choose {choice}int8, a scale for each row"
            )
        return columns // self.group

    def palettes(self, rows: int) -> int:
        """Palettes of so many rows: the last may be of fewer than the others."""
        return 0 if self.palette_rows is None else -(-rows // self.palette_rows)


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme(8, None),
        Scheme(8, None, static_inputs=True),
        Scheme(8, 32),
        Scheme(8, 128),
        Scheme(4, 32),
        Scheme(4, 64),
        Scheme(4, 128),
        Scheme(4, 32, positive=True),
        Scheme(4, 64, positive=True),
        Scheme(4, 128, positive=True),
        Scheme(4, 32, symmetric=False),
        Scheme(4, 64, symmetric=False),
        Scheme(4, 128, symmetric=False),
        Scheme(3, 32),
        Scheme(3, 32, symmetric=False),
        Scheme(3, 64, symmetric=False),
        Scheme(3, 128, symmetric=False),
        Scheme(4, None, palette_rows=16),
        Scheme(4, None, palette_rows=32),
    )
}
"""By the name that recipes give."""

FLOAT = "float"
"""In a recipe: leave it as it is."""


def scheme_named(name: str) -> Scheme:
    """Raises EdgeError for a name that is no scheme."""
    if name not in SCHEMES:
        raise EdgeError(f"there is no scheme '{name}'", f"choose from: {', '.join((*SCHEMES, FLOAT))}")
    return SCHEMES[name]


@dataclass(frozen=True)
class Quantized:
    """A weight (rows, columns) as ``integers`` uint8 (rows, columns), and ``scales`` (rows, groups).

    ``zero_points`` uint8 (rows, groups); None stands for the scheme's middle. Scales are float16 where we choose them,
    so that every target can hold them as they are.
    Of schemes with palettes there are no scales: groups are 0. ``palettes`` (palettes, levels) are float16.
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
        """Some of the rows, from the first one of a palette on."""
        zeros = None if self.zero_points is None else self.zero_points[start:end]
        palettes, size = self.palettes, self.scheme.palette_rows
        if palettes is not None and size is not None:
            assert start % size == 0, (start, size)
            palettes = palettes[start // size : self.scheme.palettes(end)]
        return Quantized(self.scheme, self.integers[start:end], self.scales[start:end], zeros, palettes)


def palettized(scheme: Scheme, integers: Tensor, palettes: Tensor) -> Quantized:
    """A weight of a scheme with palettes: without scales."""
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


def packed(integers: Tensor) -> Tensor:
    """Integers below 16 (rows, columns), two in a byte, the first in the low half: (rows, ceil(columns / 2))."""
    if integers.shape[1] % 2:
        integers = torch.nn.functional.pad(integers, (0, 1))
    return integers[:, 0::2] | (integers[:, 1::2] << 4)


def unpacked(bytes_: Tensor, columns: int) -> Tensor:
    """The inverse of ``packed``."""
    both = torch.stack([bytes_ & 15, bytes_ >> 4], dim=-1)
    return both.view(len(bytes_), -1)[:, :columns]

"""Number formats of quantized weights, as data; and what a quantized weight is."""

from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_edge.errors import EdgeError


@dataclass(frozen=True)
class Scheme:
    """Integers of ``bits``, and a scale for every ``group`` neighbours of a row (None: for the whole row).

    Rows are outputs of a linear layer, or words of an embedding. ``symmetric`` ones have their zero in the middle of
    the range, others say where it lies, group by group. ``static_inputs``: what the layer reads is rounded to 8 bits,
    too, with one scale that calibration finds.
    """

    bits: int
    group: int | None
    symmetric: bool = True
    static_inputs: bool = False

    def __post_init__(self) -> None:
        if self.bits not in (3, 4, 8):
            raise ValueError(f"bits is {self.bits}, not 3, 4 or 8")
        if self.group is None and (self.bits != 8 or not self.symmetric):
            raise ValueError("group is null, which only symmetric ones of 8 bits have")
        if self.static_inputs and self.group is not None:
            raise ValueError("static_inputs is true, which is for whole rows alone")
        if self.group is not None and (self.group < 16 or self.group & (self.group - 1)):
            raise ValueError(f"group is {self.group}, not a power of two of 16 or more")

    @property
    def name(self) -> str:
        """Such as int8, w8a8, int4-g32, int4-g128-asym."""
        if self.static_inputs:
            return "w8a8"
        group = "" if self.group is None else f"-g{self.group}"
        return f"int{self.bits}{group}{'' if self.symmetric else '-asym'}"

    @property
    def levels(self) -> int:
        """How many integers there are: 0 to levels - 1."""
        return int(2**self.bits)

    @property
    def middle(self) -> int:
        """The zero of symmetric ones."""
        return self.levels // 2

    def groups(self, columns: int) -> int:
        """Scales of a row. Raises EdgeError where groups do not divide it."""
        if self.group is None:
            return 1
        if columns % self.group:
            fitting = [str(size) for size in (128, 64, 32, 16) if columns % size == 0]
            choice = f"groups of {', '.join(fitting)}, or " if fitting else ""
            raise EdgeError(
                f"groups of {self.group} do not divide rows of {columns}", f"choose {choice}int8, a scale for each row"
            )
        return columns // self.group


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
        Scheme(4, 32, symmetric=False),
        Scheme(4, 64, symmetric=False),
        Scheme(4, 128, symmetric=False),
        Scheme(3, 32),
        Scheme(3, 32, symmetric=False),
        Scheme(3, 64, symmetric=False),
        Scheme(3, 128, symmetric=False),
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
    """

    scheme: Scheme
    integers: Tensor
    scales: Tensor
    zero_points: Tensor | None = None

    def dequantize(self) -> Tensor:
        """``(integer - zero point) * scale`` in float32: the definition that every target is compared with.

        The difference is exact; the product is rounded once, and beside a float16 scale not even that.
        """
        rows, columns = self.integers.shape
        grouped = self.integers.view(rows, self.scheme.groups(columns), -1).float()
        zeros = float(self.scheme.middle) if self.zero_points is None else self.zero_points.float()[..., None]
        return ((grouped - zeros) * self.scales.float()[..., None]).view(rows, columns)

    def rows(self, start: int, end: int) -> "Quantized":
        """Some of the rows."""
        zeros = None if self.zero_points is None else self.zero_points[start:end]
        return Quantized(self.scheme, self.integers[start:end], self.scales[start:end], zeros)


def stacked(parts: list[Quantized]) -> Quantized:
    """Weights of one scheme, one above the other."""
    scheme = parts[0].scheme
    assert all(part.scheme == scheme for part in parts)
    zeros = [part.zero_points for part in parts if part.zero_points is not None]
    return Quantized(
        scheme,
        torch.cat([part.integers for part in parts]),
        torch.cat([part.scales for part in parts]),
        torch.cat(zeros) if zeros else None,
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

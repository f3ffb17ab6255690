"""The table of token embeddings in a file."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.numbers import BYTES, Float, check_rules


@dataclass(frozen=True)
class Rounded:
    """A table of integers: a number is ``(integer - zero point) * scale``, with a scale for every ``block`` of a row.

    A row is padded to whole blocks. Four bits lie two in a byte, the first in the low half. ``scales`` and
    ``zero_points`` are offsets in the file, (rows, blocks) each; no zero points: ``2 ** (bits - 1)``. Zero points of
    four bits are padded to whole bytes, row by row.
    """

    bits: Literal[4, 8]
    block: int
    scales: int
    zero_points: int | None

    def __post_init__(self) -> None:
        check_rules(
            block=16 <= self.block <= 2**16 and self.block & (self.block - 1) == 0,
            scales=self.scales >= 0,
            zero_points=self.zero_points is None or self.zero_points >= 0,
        )

    def blocks(self, width: int) -> int:
        """Blocks of a row."""
        return -(-width // self.block)

    def row_bytes(self, width: int) -> int:
        """Bytes of a row's integers."""
        return self.blocks(width) * self.block * self.bits // 8

    def zero_bytes(self, width: int) -> int:
        """Bytes of a row's zero points."""
        return -(-self.blocks(width) * self.bits // 8)


@dataclass(frozen=True)
class Embedding:
    """The table of token embeddings, rows one after another in ``file`` from ``offset`` on; the head may share it.

    ``dtype`` is that of its numbers, or of the scales where it is ``rounded``.
    """

    file: str
    offset: int
    rows: int
    width: int
    dtype: Float
    rounded: Rounded | None = None

    def __post_init__(self) -> None:
        size = BYTES[self.dtype]
        check_rules(
            offset=self.offset >= 0 and (self.offset if self.rounded is None else self.rounded.scales) % size == 0,
            rows=self.rows > 0,
            width=self.width > 0,
        )

    @property
    def end(self) -> int:
        """Offset of its end in the file."""
        size, rounded = BYTES[self.dtype], self.rounded
        if rounded is None:
            return self.offset + self.rows * self.width * size
        ends = [self.offset + self.rows * rounded.row_bytes(self.width)]
        ends.append(rounded.scales + self.rows * rounded.blocks(self.width) * size)
        if rounded.zero_points is not None:
            ends.append(rounded.zero_points + self.rows * rounded.zero_bytes(self.width))
        return max(ends)

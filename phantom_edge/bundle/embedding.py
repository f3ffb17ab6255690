"""The table of token embeddings in a file."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.numbers import BYTES, Float, check_rules


@dataclass(frozen=True)
class Rounded:
    """A table of unsigned integers: a number is ``(integer - zero point) * scale``, with a scale for every block.

    A row is padded to whole blocks: it takes ``blocks * block * bits / 8`` bytes, blocks = ceil(width / block).
    """

    bits: Literal[4, 8]
    """Bits of an integer. Four bits lie two in a byte."""
    block: int
    """Numbers of a row that share a scale."""
    scales: int
    """Offset of the scales in the file, in bytes: (rows, blocks), little-endian numbers of ``scale_dtype``."""
    zero_points: int | None
    """Offset of the zero points in the file, in bytes: (rows, blocks) integers of ``bits`` bits, packed like the rows
    and padded to whole bytes row by row; null where every zero point is ``zero_offset``."""
    scale_dtype: Float
    """Number format of the scales."""
    zero_offset: int
    """Zero point, an integer of ``bits`` bits, where the file has none: 2 ** (bits - 1)."""
    first_nibble: Literal["low"] = "low"
    """Half of a byte with the first of its two integers, for 4 bits: the low one, ``byte & 15``."""

    def __post_init__(self) -> None:
        check_rules(
            block=16 <= self.block <= 2**16 and self.block % 2 == 0,
            scales=self.scales >= 0,
            zero_points=self.zero_points is None or self.zero_points >= 0,
            zero_offset=self.zero_offset == 2 ** (self.bits - 1),
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
    """The table of token embeddings in a file, little-endian, row after row without gaps."""

    file: str
    """File that holds the table; the decoder's head may share it."""
    offset: int
    """Offset of the first row in the file, in bytes."""
    rows: int
    """Number of rows: the vocabulary."""
    width: int
    """Numbers of a row: the hidden size."""
    dtype: Float
    """Number format of the rows, or, where they are ``rounded``, of their scales."""
    rounded: Rounded | None = None
    """Packing of the rows where they are integers; null where they are floats."""

    def __post_init__(self) -> None:
        size = BYTES[self.dtype]
        check_rules(
            offset=self.offset >= 0 and (self.offset if self.rounded is None else self.rounded.scales) % size == 0,
            rows=self.rows > 0,
            width=self.width > 0,
            scale_dtype=self.rounded is None or self.rounded.scale_dtype == self.dtype,
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

"""Decoding, tiling and normalization of pictures, in numbers that a reader in any language can follow."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.numbers import MOST_TOKENS, check_rules

WHITE = (255, 255, 255)
SIXTEEN_BITS: Literal["floor(value / 257 + 0.5)"] = "floor(value / 257 + 0.5)"
GRID_RULE: Literal["nearest ratio, ties by area"] = "nearest ratio, ties by area"
TIE_AREA = 0.5
"""Share of a grid's pixels that a picture must exceed to get the later of two equally near grids."""


@dataclass(frozen=True)
class Decoding:
    """Pixels of an encoded picture: upright, opaque, RGB, 8 bits a channel, without colour management."""

    orientation: Literal["exif"] = "exif"
    """Source of the orientation: EXIF tag 0x0112 (1 to 8) turns or mirrors the picture before anything else. Where
    EXIF has none, it is ``tiff:Orientation`` of XMP."""
    channels: Literal["RGB"] = "RGB"
    """Order of the channels. Grey is repeated three times, palettes are looked up."""
    background: tuple[int, ...] = WHITE
    """Colour (R, G, B) behind transparent pixels, 0 to 255: round((c * a + background * (255 - a)) / 255)."""
    sixteen_bits: Literal["floor(value / 257 + 0.5)"] = SIXTEEN_BITS
    """Formula from an opaque 16-bit grey value, 0 to 65535, to one of 8 bits. Other 16-bit channels keep their high
    byte."""

    def __post_init__(self) -> None:
        check_rules(background=len(self.background) == 3 and all(0 <= one <= 255 for one in self.background))


@dataclass(frozen=True)
class Resizing:
    """Resampling of 8-bit pixels, as Pillow's ``resize`` with BICUBIC does it in one call per axis.

    Output pixel i of n, over m input pixels: scale = m / n, support = 2 * max(scale, 1), center = (i + 0.5) * scale.
    Input pixels from max(int(center - support + 0.5), 0) up to, but not including, min(int(center + support + 0.5), m)
    are weighted by the cubic at (pixel - center + 0.5) * (1 / max(scale, 1)). Weights are divided by their sum and
    become integers, half away from zero, of 22 fractional bits. A sum starts at 2 ** 21, is shifted right by 22 bits,
    and is clipped to 0..255. An axis that keeps its length is not resampled.
    """

    filter: Literal["bicubic"] = "bicubic"
    """Kernel: Keys' cubic, widened by the scale where a picture shrinks (antialiasing)."""
    cubic_a: float = -0.5
    """Parameter a of the cubic, a pure number; many libraries use -0.75 instead, and differ."""
    fractional_bits: int = 22
    """Fractional bits of the integer weights."""
    passes: tuple[Literal["horizontal", "vertical"], ...] = ("horizontal", "vertical")
    """Order of the two passes; each ends in rounding to 8 bits."""

    def __post_init__(self) -> None:
        check_rules(
            cubic_a=self.cubic_a == -0.5,
            fractional_bits=self.fractional_bits == 22,
            passes=self.passes == ("horizontal", "vertical"),
        )


@dataclass(frozen=True)
class Pictures:
    """Tiling and normalization of pictures.

    A picture is decoded, given a grid of tiles, resized to ``columns * tile_size`` by ``rows * tile_size`` pixels, and
    cut. A pixel's channel becomes ``((value / 255) - mean) / std``, each step in float32. Layout of a tile: channels,
    rows, columns.
    """

    tile_size: int
    """Side of a tile in pixels."""
    min_tiles: int
    """Smallest number of tiles of a grid."""
    max_tiles: int
    """Largest number of tiles of a grid, without the thumbnail."""
    thumbnail: bool
    """True where a grid of several tiles is followed by one more: the whole picture, resized to one tile."""
    mean: tuple[float, ...]
    """Mean of R, G and B, in values from 0 to 1."""
    std: tuple[float, ...]
    """Standard deviation of R, G and B, in values from 0 to 1."""
    tokens_per_tile: int
    """Number of image tokens of a tile."""
    grids: tuple[tuple[int, ...], ...]
    """All grids, (columns, rows) in tiles, in the order in which ``grid_rule`` tries them."""
    grid_rule: Literal["nearest ratio, ties by area"] = GRID_RULE
    """Choice of a grid: the first one with the smallest abs(width / height - columns / rows), in float64. A later grid
    at exactly the same distance replaces it where width * height > tie_area * tile_size**2 * columns * rows."""
    tie_area: float = TIE_AREA
    """Share, from 0 to 1, of a later grid's pixels that a picture must exceed to get it; see ``grid_rule``."""
    order: Literal["rows, thumbnail last"] = "rows, thumbnail last"
    """Order of the tiles: row by row, left to right, and the thumbnail last."""
    decoding: Decoding = Decoding()
    """Rules from a file to pixels."""
    resizing: Resizing = Resizing()
    """Rules from pixels to other numbers of pixels."""

    def __post_init__(self) -> None:
        check_rules(
            tile_size=0 < self.tile_size <= 2**14,
            tiles=0 < self.min_tiles <= self.max_tiles <= 1024,
            tokens_per_tile=0 < self.tokens_per_tile <= MOST_TOKENS // max(self.max_tiles, 1),
            mean=len(self.mean) == 3,
            std=len(self.std) == 3 and all(one > 0 for one in self.std),
            tie_area=self.tie_area == TIE_AREA,
        )
        check_rules(grids=self.grids == grids(self.min_tiles, self.max_tiles))  # of a possible number of tiles


def grids(least: int, most: int) -> tuple[tuple[int, ...], ...]:
    """All (columns, rows) of ``least`` to ``most`` tiles, fewest tiles first, of equally many the narrower first."""
    found = [(cols, rows) for cols in range(1, most + 1) for rows in range(1, most // cols + 1) if cols * rows >= least]
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))

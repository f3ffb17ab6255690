"""Cuts pictures into tiles, as the released preprocessing does, on every Pillow. Needs Pillow and numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phantom_edge.bundle.pictures import TIE_AREA, grids
from phantom_edge.foundation.errors import EdgeError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MOST_PIXELS_BETWEEN_PASSES = 2**26
"""Limit of a picture that is widened before it is shortened (256 MiB); only absurdly tall ones exceed it."""


@dataclass(frozen=True)
class Tiling:
    """Tile side in pixels, minimum and maximum number of tiles, and whether a thumbnail follows several tiles."""

    tile_size: int = 448
    min_tiles: int = 1
    max_tiles: int = 6
    thumbnail: bool = True
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Raises EdgeError for impossible numbers."""
        if self.tile_size < 1:
            raise EdgeError(
                f"tile_size is {self.tile_size}", "a tile needs at least 1 pixel a side (released models: 448)"
            )
        if not 1 <= self.min_tiles <= self.max_tiles:
            raise EdgeError(
                f"min_tiles is {self.min_tiles} and max_tiles {self.max_tiles}",
                "choose 1 <= min_tiles <= max_tiles (released models: 1 and 6)",
            )
        if len(self.mean) != 3 or len(self.std) != 3 or not all(np.isfinite((*self.mean, *self.std))):
            raise EdgeError(
                f"mean {self.mean} or std {self.std} is not 3 numbers", "give one number for each of R, G, B"
            )
        if min(self.std) <= 0:
            raise EdgeError(f"std {self.std} is not positive", "give the standard deviation of R, G, B in 0..1")


def choose_grid(width: int, height: int, tiling: Tiling) -> tuple[int, int]:
    """Columns and rows whose shape is nearest to that of a ``width`` x ``height`` picture.

    Of two equally near grids the larger one wins when the picture covers more than half of its area in pixels.
    Source: ``find_closest_aspect_ratio`` of the released code's utils.
    """
    aspect = width / height
    best, best_distance = (1, 1), float("inf")
    for cols, rows in grids(tiling.min_tiles, tiling.max_tiles):
        distance = abs(aspect - cols / rows)
        tie_won = distance == best_distance and width * height > TIE_AREA * tiling.tile_size**2 * cols * rows
        if distance < best_distance or tie_won:
            best, best_distance = (cols, rows), distance
    return best


def split_tiles(image: Image.Image, tiling: Tiling) -> list[Image.Image]:
    """The picture's tiles row by row, then, with ``thumbnail`` and several tiles, the whole picture as one tile.

    Raises EdgeError for a picture that is not RGB, or so tall that shrinking it would fill the memory.
    Source: ``dynamic_preprocess`` of the released code's utils.
    """
    if image.mode != "RGB":
        raise EdgeError(
            f"a {image.mode} image cannot be tiled", "open it with phantom_edge.processing.images.open_image"
        )
    side = tiling.tile_size
    cols, rows = choose_grid(*image.size, tiling)
    whole = _resize(image, cols * side, rows * side)
    corners = [(col * side, row * side) for row in range(rows) for col in range(cols)]
    tiles = [whole.crop((left, top, left + side, top + side)) for left, top in corners]
    if tiling.thumbnail and len(tiles) > 1:
        tiles.append(_resize(image, side, side))
    return tiles


def to_pixel_values(image: Image.Image, tiling: Tiling) -> NDArray[np.float32]:
    """The picture's tiles as input of the vision tower: float32 (tiles, 3, S, S), ImageNet-normalized."""
    tiles = split_tiles(image, tiling)
    mean = np.array(tiling.mean, np.float32).reshape(3, 1, 1)
    std = np.array(tiling.std, np.float32).reshape(3, 1, 1)
    pixels = np.empty((len(tiles), 3, tiling.tile_size, tiling.tile_size), np.float32)
    for target, tile in zip(pixels, tiles, strict=True):
        target[...] = np.asarray(tile).transpose(2, 0, 1)  # (S, S, 3) -> (3, S, S)
        target /= 255
        target -= mean
        target /= std
    return pixels


def _resize(image: Image.Image, width: int, height: int) -> Image.Image:
    """Bicubic, horizontal first, rounded to 8 bits between the passes.

    Pillow up to 12 does so by itself; Pillow 13 shrinks tall pictures vertically first and differs by up to 16 levels.
    Two calls of one axis each leave it no choice.
    """
    if width * image.height > MOST_PIXELS_BETWEEN_PASSES:
        raise EdgeError(
            f"a picture of {image.width}x{image.height} is too tall to tile", "crop it or make it smaller first"
        )
    bicubic = Image.Resampling.BICUBIC
    return image.resize((width, image.height), bicubic).resize((width, height), bicubic)

"""Widths and heights of pictures, chosen so that every grid of tiles occurs."""

import math
from random import Random

from phantom_edge.bundle.pictures import grids
from phantom_edge.processing.tiling import Tiling, choose_grid

VIEW = Tiling(tile_size=224, max_tiles=6)
"""Tiles that pictures of the new mixes are made for: phantom-nano's. Heights of letters count in their pixels."""
SHORTEST, LONGEST = 224, 1344
"""Bounds of a picture's sides, pixels."""
GRIDS = grids(VIEW.min_tiles, VIEW.max_tiles)
STRIP = 3
"""Ratio of the sides above which a picture is a strip: it occurs, but rarely."""
STRIP_WEIGHT, WEIGHT = 1, 7


def draw_pixels(random: Random, wanted: tuple[tuple[int, ...], ...] = GRIDS) -> tuple[int, int]:
    """Returns width and height of a picture that one of the ``wanted`` grids of tiles fits.

    Half of the pictures have exactly the ratio of their grid, others differ by up to a fifth, within 1:3 and 3:1. Six
    of ten have exactly the pixels of their tiles, three up to twice as many a side, one up to :data:`LONGEST`. Grids
    beyond 1:3 and 3:1, up to 1:6 and 6:1, weigh a seventh of the others.
    """
    weights = [STRIP_WEIGHT if max(grid) > STRIP * min(grid) else WEIGHT for grid in wanted]
    columns, rows = random.choices(wanted, weights)[0]
    for _ in range(20):
        ratio = columns / rows * (1.0 if random.random() < 0.5 else math.exp(random.uniform(-0.2, 0.2)))
        way = random.random()
        scale = 1.0 if way < 0.6 else random.uniform(1.0, 2.0 if way < 0.9 else LONGEST / (224 * max(columns, rows)))
        area = columns * rows * (VIEW.tile_size * scale) ** 2
        pixels = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        within = min(pixels) >= SHORTEST and max(pixels) <= LONGEST
        proper = max(pixels) <= STRIP * min(pixels) or max(columns, rows) > STRIP * min(columns, rows)
        if within and proper and choose_grid(*pixels, VIEW) == (columns, rows):
            return pixels
    return columns * VIEW.tile_size, rows * VIEW.tile_size


def pixels_per_unit(pixels: tuple[int, int]) -> tuple[float, float]:
    """Returns pixels of the tiles to one shorter side of a picture, across and down."""
    columns, rows = choose_grid(*pixels, VIEW)
    shorter = min(pixels)
    return columns * VIEW.tile_size * shorter / pixels[0], rows * VIEW.tile_size * shorter / pixels[1]

"""Scenes of any shape: ``wide``, with items of the usual size, and ``fine``, with items that only tiles show."""

import math
from dataclasses import replace
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Card, Dial, Item, Place, Row, Scene, Sign, Solid
from phantom_edge.data.scenes.items import GRID, appearance, make_item, moved, price, reach, visible
from phantom_edge.data.scenes.shapes import GRIDS, VIEW, draw_pixels, pixels_per_unit
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.tiling import choose_grid

EXTRAS = ("sign", "card", "arrow", "dial", "bars")
"""Items of a scene besides coloured shapes."""
SPOILED_SHARE = 0.2
"""Share of signs, cards and dials of the new mixes that nobody can read."""

LEAST_LETTERS = 12.0
"""Least height of small capital letters and digits in the tiles, pixels."""
THUMBNAIL_LETTERS = 6.5
"""Greatest height of small letters in the thumbnail, pixels, along either axis."""
SMALL_FONTS = (0, 3)
"""Fonts without serifs, not bold: the others are not readable so small, or still show in the thumbnail."""
LETTER = 0.32
"""Height of a small sign's letters in its radii."""
SMALL_DIALS = (12.0, 6.5)
"""Least radius of a small dial in the tiles, and greatest in the thumbnail, pixels (geometric mean of both axes)."""
ROW_RADII = (6.5, 8.0)
"""Radii of a row's shapes in the tiles, pixels."""
ROW_PITCH = 2.7
"""Distance of neighbours in a row, in radii."""
ROW_SHAPES = tuple(shape for shape in graph.SHAPES if shape != "hexagon")
"""A hexagon so small is a circle."""
SMALL = ("sign", "price", "card", "dial", "row")
DENSE_WEIGHTS = (3, 4, 4, 2, 1)
"""How often a dense scene has each of SMALL, beside the others."""
DENSE = 7
"""Small things to a tile that a dense scene has, as far as there is room."""
FINE_GRIDS = tuple(grid for grid in GRIDS if min(grid) >= 2)
"""A strip's thumbnail is as high, or as wide, as its tiles: it shows nearly as much as they do."""

TRIES = 60
"""Places tried for a thing before it is left out."""

Box = tuple[float, float, float, float]


def wide_scene(key: str, pixels: tuple[int, int] | None, *, held_out: bool) -> Scene:
    """Returns a scene with 2 to 8 items, as ``plain``, in a picture of any shape; some cannot be read."""
    random = Random(key)
    pixels = pixels or draw_pixels(random)
    empty = Scene(key, (), appearance(random), pixels)
    columns, rows = int(GRID * empty.width + 1e-6), int(GRID * empty.height + 1e-6)
    count = random.randint(2, 6 if columns * rows == GRID * GRID else 8)
    extras = random.sample(EXTRAS, k=min(count - 1, random.randint(0, 3)))
    items: list[Item] = []
    for cell, kind in zip(random.sample(range(columns * rows), k=count), [*extras, *["solid"] * count], strict=False):
        row, column = divmod(cell, columns)
        x, y = (column + 0.5) * empty.width / columns, (row + 0.5) * empty.height / rows
        item = make_item(kind, Place(x, y, 0.33 / GRID), random, held_out=held_out, taken=items)
        items.append(moved(_perhaps_spoiled(item, random), random, empty.width, empty.height))
    return replace(empty, items=in_reading_order(items))


def in_reading_order(items: list[Item]) -> tuple[Item, ...]:
    """Returns items row by row of the usual grid, left to right."""
    return tuple(sorted(items, key=lambda item: (round(item.place.y * GRID - 0.5), item.place.x)))


def fine_scene(key: str, pixels: tuple[int, int] | None, *, held_out: bool) -> Scene:
    """Returns a scene with 3 or 4 small things, and up to 2 of the usual size, as far as there is room.

    Raises EdgeError for ``pixels`` whose tiles could not show anything that their thumbnail hides.
    """
    random = Random(key)
    pixels = pixels or _fine_pixels(random)
    check_fine(pixels)
    look = appearance(random)
    blur = random.choice((0.0, 0.0, 0.0, 0.15)) * VIEW.tile_size / min(pixels_per_unit(pixels))
    scene = Scene(key, (), replace(look, blur=blur), pixels)
    small = random.sample(SMALL, k=random.randint(3, 4))
    taken: list[Box] = []
    lines: list[Row] = []
    items: list[Item] = []
    usual = [kind for kind in EXTRAS if kind not in small]
    for kind in random.sample(usual, k=random.randint(0, min(2, len(usual)))):
        item = make_item(kind, Place(0, 0, 0.33 / GRID), random, held_out=held_out, taken=[])
        if not (isinstance(item, Sign) and item.is_price and "price" in small):
            _place(_perhaps_spoiled(item, random), scene, taken, items, random)
    for kind in small:
        if kind == "row":
            _place_row(_row(pixels, random), scene, taken, lines, random)
        else:
            _place(_perhaps_spoiled(_small(kind, pixels, random), random), scene, taken, items, random)
    return replace(scene, items=in_reading_order(items), rows=tuple(lines))


def _fine_pixels(random: Random) -> tuple[int, int]:
    pixels = draw_pixels(random, FINE_GRIDS)
    while not letter_heights(pixels):
        pixels = draw_pixels(random, FINE_GRIDS)
    return pixels


def dense_scene(key: str) -> Scene:
    """Returns a scene full of small things, several of a kind: to train vision, not to ask for "the small sign"."""
    random = Random(key)
    pixels = _fine_pixels(random)
    columns, rows = choose_grid(*pixels, VIEW)
    scene = Scene(key, (), appearance(random), pixels)
    taken: list[Box] = []
    lines: list[Row] = []
    items: list[Item] = []
    for kind in random.choices(SMALL, weights=DENSE_WEIGHTS, k=DENSE * columns * rows):
        if kind == "row":
            _place_row(_row(pixels, random), scene, taken, lines, random)
        else:
            _place(_small(kind, pixels, random), scene, taken, items, random)
    return replace(scene, items=tuple(items), rows=tuple(lines))


def check_fine(pixels: tuple[int, int]) -> None:
    """Raises EdgeError for ``pixels`` whose tiles could not show anything that their thumbnail hides."""
    if not letter_heights(pixels):
        raise EdgeError(
            f"a fine scene of {pixels[0]} x {pixels[1]} pixels has nothing that only tiles show",
            "give a size such as 448x448, 672x448 or 448x672",
        )


def letter_heights(pixels: tuple[int, int]) -> tuple[float, float] | None:
    """Returns bounds of the height of small letters in shorter sides of the picture; None where none are possible."""
    columns, rows = choose_grid(*pixels, VIEW)
    if (columns, rows) not in FINE_GRIDS:
        return None
    across, down = pixels_per_unit(pixels)
    low, high = LEAST_LETTERS / min(across, down), THUMBNAIL_LETTERS / max(across / columns, down / rows)
    return (low, high) if low <= high else None


def _small(kind: str, pixels: tuple[int, int], random: Random) -> Item:
    heights = letter_heights(pixels)
    assert heights
    radius = round(random.uniform(*heights) / LETTER, 5)
    place, font = Place(0, 0, radius), random.choice(SMALL_FONTS)
    angle = random.uniform(-5, 5)
    if kind == "sign":
        return Sign(place, random.choice(graph.WORDS), False, font, angle, small=True)
    if kind == "price":
        return Sign(place, price(random), True, font, angle, small=True)
    if kind == "card":
        digits = "".join(str(random.randrange(10)) for _ in range(random.randint(2, 3)))
        return Card(place, digits, None, font, small=True)
    columns, rows = choose_grid(*pixels, VIEW)
    across, down = pixels_per_unit(pixels)
    most = SMALL_DIALS[1] * math.sqrt(columns * rows / (across * down))
    radius = random.uniform(min(SMALL_DIALS[0] / min(across, down), most), most)
    return Dial(Place(0, 0, round(radius, 5)), random.randrange(graph.DIAL_MARKS), small=True)


def _row(pixels: tuple[int, int], random: Random) -> list[Solid]:
    """Returns the shapes of a row, around (0, 0); colours and shapes repeat, so that there is something to count."""
    radius = random.uniform(*ROW_RADII) / min(pixels_per_unit(pixels))
    shapes, colours = random.sample(ROW_SHAPES, k=4), random.sample(visible(random), k=4)
    count = random.randint(5, len(graph.ORDINALS))
    members = []
    for i in range(count):
        place = Place((i - (count - 1) / 2) * ROW_PITCH * radius, 0, radius)
        members.append(Solid(place, random.choice(shapes), random.choice(colours), False, "plain", 0.0))
    return members


def _perhaps_spoiled(item: Item, random: Random) -> Item:
    """Returns a sign, card or dial as it is, or unreadable."""
    if not isinstance(item, Sign | Card | Dial) or random.random() >= SPOILED_SHARE:
        return item
    ways = ("blurred", "covered") if isinstance(item, Dial) else graph.SPOILS
    return replace(item, spoiled=random.choice(ways))


def _place(item: Item, scene: Scene, taken: list[Box], items: list[Item], random: Random) -> None:
    """Add ``item`` at a free place of the picture, if there is one."""
    is_small = isinstance(item, Sign | Card | Dial) and item.small
    found = _free(*reach(item), scene, taken, random, whole=is_small)
    if found:
        items.append(replace(item, place=Place(*found, item.place.radius)))


def _place_row(members: list[Solid], scene: Scene, taken: list[Box], lines: list[Row], random: Random) -> None:
    radius = members[0].place.radius
    found = _free(members[-1].place.x + 1.12 * radius, 1.12 * radius, scene, taken, random, whole=True)
    if found:
        x, y = found
        lines.append(Row(tuple(replace(m, place=Place(round(x + m.place.x, 5), y, round(radius, 5))) for m in members)))


def _free(
    across: float, down: float, scene: Scene, taken: list[Box], random: Random, *, whole: bool = False
) -> tuple[float, float] | None:
    """Returns the centre of a box of half sides ``across`` and ``down`` that touches no other, and takes it.

    ``whole``: it lies inside one tile.
    """
    assert scene.pixels
    columns, rows = choose_grid(*scene.pixels, VIEW) if whole else (1, 1)
    gap = 4 / min(pixels_per_unit(scene.pixels))
    edge_x, edge_y = across + gap, down + gap
    if edge_x > scene.width / 2 or edge_y > scene.height / 2:
        return None
    for _ in range(TRIES):
        x = round(random.uniform(edge_x, scene.width - edge_x), 5)
        y = round(random.uniform(edge_y, scene.height - edge_y), 5)
        box = (x - across - gap, y - down - gap, x + across + gap, y + down + gap)
        if not (_is_cut(box[0], box[2], scene.width / columns) or _is_cut(box[1], box[3], scene.height / rows)) and all(
            box[2] <= o[0] or o[2] <= box[0] or box[3] <= o[1] or o[3] <= box[1] for o in taken
        ):
            taken.append(box)
            return x, y
    return None


def _is_cut(low: float, high: float, step: float) -> bool:
    """True where a border of tiles, which stand ``step`` apart, lies between ``low`` and ``high``."""
    return math.floor(low / step) != math.floor(high / step)

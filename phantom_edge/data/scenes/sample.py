"""From a seed to a scene graph. Same split and seed, same scene; two splits never share one."""

import math
from dataclasses import replace
from random import Random
from typing import Literal

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Look, Place, Scene, Sign, Solid
from phantom_edge.data.scenes.handwriting import samples_of

SPLITS = ("train", "validation", "test")
Mix = Literal["plain", "rich", "crowded"]
"""Contents of scenes: ``plain`` to measure a model, ``rich`` with one of each item to read, ``crowded`` with several
of a kind: to train vision, not to ask for "the sign"."""
GRID = 3
"""Items stand in cells of a grid, moved inside their cell, so that none covers another."""
MOST_MOVE = 0.06
FONTS = 4
EXTRAS = ("sign", "card", "arrow", "dial", "bars")
"""Items of a scene besides coloured shapes."""
CROWDED_WEIGHTS = (4, 4, 1, 2, 2)
CROWDED_EXTRAS = 6
HANDWRITTEN_SHARE = 0.6


def make_scene(seed: int, split: str = "train", mix: Mix = "plain") -> Scene:
    """Returns the scene of ``seed`` in ``split``; ``validation`` and ``test`` share no handwriting with ``train``."""
    assert split in SPLITS, split
    key = f"{split}/{seed}" if mix == "plain" else f"{split}/{seed}/{mix}"
    random = Random(key)
    count = {"plain": random.randint(2, 6), "rich": random.randint(6, 8), "crowded": GRID * GRID}[mix]
    cells = random.sample(range(GRID * GRID), k=count)
    extras = {
        "plain": random.sample(EXTRAS, k=min(count - 1, random.randint(0, 3))),
        "rich": list(EXTRAS),
        "crowded": random.choices(EXTRAS, weights=CROWDED_WEIGHTS, k=CROWDED_EXTRAS),
    }[mix]
    items: list[Item] = []
    for cell, kind in zip(cells, [*extras, *["solid"] * count], strict=False):
        row, column = divmod(cell, GRID)
        middle = Place((column + 0.5) / GRID, (row + 0.5) / GRID, 0.33 / GRID)
        item = _make(kind, middle, random, held_out=split != "train", taken=items)
        items.append(_moved(item, random))
    items.sort(key=lambda item: (round(item.place.y * GRID - 0.5), item.place.x))  # reading order
    return Scene(key, tuple(items), _appearance(random))


def reach(item: Item) -> tuple[float, float]:
    """Returns bounds of ``item``'s extent from its centre, across and down, as shares of the picture's side."""
    across, down = {Solid: (1.12, 1.12), Sign: (1.12, 0.64), Card: (1.02, 0.62), Bars: (1.0, 0.87)}.get(
        type(item), (1.0, 1.0)
    )
    return across * item.place.radius, down * item.place.radius


def _moved(item: Item, random: Random) -> Item:
    """Returns the item at a random place of its cell."""
    across, down = (min(MOST_MOVE, 0.5 / GRID - extent) for extent in reach(item))
    x, y = item.place.x + random.uniform(-across, across), item.place.y + random.uniform(-down, down)
    x, y = (min(max(round(at, 4), edge), 1 - edge) for at, edge in zip((x, y), reach(item), strict=True))
    return replace(item, place=Place(x, y, item.place.radius))  # rounded alone, it might be beyond the edge


def _make(kind: str, place: Place, random: Random, *, held_out: bool, taken: list[Item]) -> Item:
    if kind == "solid":
        return _solid(place, random, taken)
    if kind == "sign":
        is_price = random.random() < 0.4
        text = (
            f"${random.randint(1, 99)}.{random.choice(('00', '50', '90', '99'))}"
            if is_price
            else random.choice(graph.WORDS)
        )
        return Sign(_scaled(place, 1.3), text, is_price, random.randrange(FONTS), random.uniform(-8, 8))
    if kind == "card":
        digits = "".join(str(random.randrange(10)) for _ in range(random.randint(1, 3)))
        handwritten = random.random() < HANDWRITTEN_SHARE
        samples = tuple(random.choice(samples_of(int(digit), held_out)) for digit in digits) if handwritten else None
        return Card(_scaled(place, 1.2), digits, samples, random.randrange(FONTS))
    if kind == "arrow":
        return Arrow(_scaled(place, 1.0), random.choice(graph.DIRECTIONS), random.choice(_visible(random)))
    if kind == "dial":
        return Dial(_scaled(place, 1.3), random.randrange(graph.DIAL_MARKS))
    colours = tuple(random.sample(graph.BAR_COLOURS, k=random.randint(3, 4)))
    steps = random.sample(range(2, 11), k=len(colours))
    return Bars(_scaled(place, 1.3), colours, tuple(step / 10 for step in steps))


def _solid(place: Place, random: Random, taken: list[Item]) -> Solid:
    """Returns a shape; some repeat the shape or colour of an earlier one, so that there is something to count."""
    solids = [item for item in taken if isinstance(item, Solid)]
    shape = random.choice(solids).shape if solids and random.random() < 0.35 else random.choice(graph.SHAPES)
    colour = random.choice(solids).colour if solids and random.random() < 0.25 else random.choice(_visible(random))
    large = random.random() < 0.6
    scale = random.uniform(0.95, 1.15) if large else random.uniform(0.55, 0.7)
    turn = 0.0 if shape in ("square", "diamond", "cross") else random.uniform(-25, 25)
    return Solid(_scaled(place, scale), shape, colour, large, random.choice(graph.TEXTURES), round(turn, 2))


def _visible(random: Random) -> list[str]:
    return [colour for colour in graph.COLOURS if colour != "white" or random.random() < 0.5]


def _scaled(place: Place, factor: float) -> Place:
    """Returns the place with its radius scaled."""
    return Place(place.x, place.y, round(place.radius * factor, 4))


def _appearance(random: Random) -> Look:
    shade = random.randint(150, 225)
    ground = (shade + random.randint(-12, 12), shade + random.randint(-12, 12), shade + random.randint(-12, 12))
    return Look(
        ground=ground,
        light=random.uniform(0.0, 0.35),
        light_angle=random.uniform(0, 2 * math.pi),
        blur=random.choice((0.0, 0.0, 0.4, 0.8)),
        noise=random.uniform(0, 6),
        clutter=random.randint(0, 6),
    )

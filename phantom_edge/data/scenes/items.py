"""From random numbers to the items of a scene, each in its cell."""

import math
from dataclasses import replace
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Look, Place, Sign, Solid
from phantom_edge.data.scenes.handwriting import samples_of

GRID = 3
"""Items stand in cells of a grid, moved inside their cell, so that none covers another."""
MOST_MOVE = 0.06
FONTS = 4
HANDWRITTEN_SHARE = 0.6
SMALL_REACH = (1.1, 0.46)
"""Half width and height of a small sign's or card's board, turned, in radii."""


def reach(item: Item) -> tuple[float, float]:
    """Returns bounds of ``item``'s extent from its centre, across and down, in shorter sides of the picture."""
    across, down = {Solid: (1.12, 1.12), Sign: (1.12, 0.64), Card: (1.02, 0.62), Bars: (1.0, 0.87)}.get(
        type(item), (1.0, 1.0)
    )
    if isinstance(item, Sign | Card) and item.small:
        across, down = SMALL_REACH
    return across * item.place.radius, down * item.place.radius


def moved(item: Item, random: Random, width: float = 1.0, height: float = 1.0) -> Item:
    """Returns the item at a random place of its cell, in a picture of ``width`` x ``height`` shorter sides."""
    across, down = (min(MOST_MOVE, 0.5 / GRID - extent) for extent in reach(item))
    x, y = item.place.x + random.uniform(-across, across), item.place.y + random.uniform(-down, down)
    bounds = zip((x, y), reach(item), (width, height), strict=True)
    x, y = (min(max(round(at, 4), edge), end - edge) for at, edge, end in bounds)
    return replace(item, place=Place(x, y, item.place.radius))  # rounded alone, it might be beyond the edge


def make_item(kind: str, place: Place, random: Random, *, held_out: bool, taken: list[Item]) -> Item:
    """Returns an item of a kind: ``solid``, or one of EXTRAS; ``taken`` are those already there."""
    if kind == "solid":
        return _solid(place, random, taken)
    if kind == "sign":
        is_price = random.random() < 0.4
        text = price(random) if is_price else random.choice(graph.WORDS)
        return Sign(scaled(place, 1.3), text, is_price, random.randrange(FONTS), random.uniform(-8, 8))
    if kind == "card":
        digits = "".join(str(random.randrange(10)) for _ in range(random.randint(1, 3)))
        handwritten = random.random() < HANDWRITTEN_SHARE
        samples = tuple(random.choice(samples_of(int(digit), held_out)) for digit in digits) if handwritten else None
        return Card(scaled(place, 1.2), digits, samples, random.randrange(FONTS))
    if kind == "arrow":
        return Arrow(scaled(place, 1.0), random.choice(graph.DIRECTIONS), random.choice(visible(random)))
    if kind == "dial":
        return Dial(scaled(place, 1.3), random.randrange(graph.DIAL_MARKS))
    colours = tuple(random.sample(graph.BAR_COLOURS, k=random.randint(3, 4)))
    steps = random.sample(range(2, 11), k=len(colours))
    return Bars(scaled(place, 1.3), colours, tuple(step / 10 for step in steps))


def price(random: Random) -> str:
    """Returns a price from $1.00 to $99.99."""
    return f"${random.randint(1, 99)}.{random.choice(('00', '50', '90', '99'))}"


def _solid(place: Place, random: Random, taken: list[Item]) -> Solid:
    """Returns a shape; some repeat the shape or colour of an earlier one, so that there is something to count."""
    solids = [item for item in taken if isinstance(item, Solid)]
    shape = random.choice(solids).shape if solids and random.random() < 0.35 else random.choice(graph.SHAPES)
    colour = random.choice(solids).colour if solids and random.random() < 0.25 else random.choice(visible(random))
    large = random.random() < 0.6
    scale = random.uniform(0.95, 1.15) if large else random.uniform(0.55, 0.7)
    turn = 0.0 if shape in ("square", "diamond", "cross") else random.uniform(-25, 25)
    return Solid(scaled(place, scale), shape, colour, large, random.choice(graph.TEXTURES), round(turn, 2))


def visible(random: Random) -> list[str]:
    """Returns colours to choose from; white, which is hard to see, is among them half of the time."""
    return [colour for colour in graph.COLOURS if colour != "white" or random.random() < 0.5]


def scaled(place: Place, factor: float) -> Place:
    """Returns the place with its radius scaled."""
    return Place(place.x, place.y, round(place.radius * factor, 4))


def appearance(random: Random) -> Look:
    """Returns ground, light, blur, noise and clutter of a picture."""
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

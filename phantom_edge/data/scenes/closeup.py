"""Questions about what is so small that only the tiles of a large picture show it: small signs, small dials, rows."""

from collections import Counter
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Card, Dial, Scene, Sign, Solid, readable
from phantom_edge.data.scenes.misses import (
    Maker,
    Question,
    alike_words,
    near_numbers,
    other_digit,
    plural,
    shuffled,
    with_misses,
)


def read_small(scene: Scene, random: Random) -> Question | None:
    """Asks for the text of a small sign, price tag or card."""
    there = [item for item in scene.items if isinstance(item, Sign | Card) and readable(item, small=True)]
    if not there:
        return None
    item = random.choice(there)
    if isinstance(item, Card):
        near = [other_digit(item.digits, random) for _ in range(4)]
        return with_misses("small", "What number is on the small card?", item.digits, near)
    if item.is_price:
        near = [other_digit(item.text, random) for _ in range(4)]
        return with_misses("small", "What is the small price?", item.text, near)
    return with_misses("small", "What does the small sign say?", item.text, alike_words(item.text))


def read_far(scene: Scene, random: Random) -> Question | None:
    """Asks for the value of the small dial."""
    dials = [item for item in scene.items if isinstance(item, Dial) and readable(item, small=True)]
    if not dials:
        return None
    value = dials[0].value
    near = [str(n) for n in near_numbers(value, random) if n < graph.DIAL_MARKS]
    return with_misses("far", "What does the small dial show?", str(value), near)


def read_row(scene: Scene, random: Random) -> Question | None:
    """Asks for one of the shapes in the row by its place, or for the number of a shape or a colour in it."""
    if not scene.rows:
        return None
    members = scene.rows[0].members
    way = random.choice(("place", "place", "shape", "colour"))
    if way == "place":
        return _place_in_row(members, random)
    if way == "shape":
        what = random.choice(sorted({member.shape for member in members}))
        number = Counter(member.shape for member in members)[what]
        text = f"How many {plural(what)} are in the row?"
    else:
        what = random.choice(sorted({member.colour for member in members}))
        number = Counter(member.colour for member in members)[what]
        text = f"How many {what} shapes are in the row?"
    return with_misses("row", text, str(number), [str(n) for n in near_numbers(number, random)])


def _place_in_row(members: tuple[Solid, ...], random: Random) -> Question:
    """Asks for the shape at a place counted from an end; near misses are its neighbours."""
    at, side = random.randrange(len(members)), random.choice(("left", "right"))
    order = members if side == "left" else members[::-1]
    neighbours = [order[i].name for i in (at + 1, at - 1) if 0 <= i < len(order)]
    answer = order[at]
    others = [f"{answer.colour} {shape}" for shape in shuffled(list(graph.SHAPES), random) if shape != answer.shape]
    return with_misses(
        "row",
        f"Which shape is {graph.ORDINALS[at]} from the {side} in the row?",
        answer.name,
        [*shuffled(neighbours, random), *others],
    )


MORE_KINDS: dict[str, Maker] = {"small": read_small, "far": read_far, "row": read_row}
"""Kinds of questions about scenes of any shape, besides those of every scene."""

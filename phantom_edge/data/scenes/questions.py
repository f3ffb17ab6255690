"""Questions about a scene, answered from its graph, with wrong answers that are nearly right.

Ten kinds. A wrong answer is a near miss taken from the same picture where it has one: the colour of another object, the
count next to the right one, the digits with two swapped, the description with one thing changed.
"""

from collections import Counter
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.closeup import MORE_KINDS
from phantom_edge.data.scenes.descriptions import describe_in_a_form
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Scene, Sign, Solid, readable
from phantom_edge.data.scenes.misses import (
    Maker,
    alike_words,
    article,
    near_numbers,
    other_digit,
    plural,
    sentence,
    shuffled,
    with_misses,
)
from phantom_edge.data.scenes.misses import Question as Question


def ask(scene: Scene, kinds: tuple[str, ...] | None = None, round: int = 0) -> list[Question]:
    """Returns one question of each kind that the scene can answer, in a fixed order; same scene, same questions.

    Another ``round`` gives others, as far as the scene has more. Scenes of any shape have MORE_KINDS, too, and several
    forms of descriptions.
    """
    random = Random(f"questions of {scene.key}" + (f", round {round}" if round else ""))
    makers = KINDS if scene.pixels is None else {**KINDS, "describe": describe_in_a_form, **MORE_KINDS}
    if scene.pixels and not scene.solids:  # shapes of a row are asked about as a row
        makers = {kind: maker for kind, maker in makers.items() if kind not in ABOUT_SOLIDS}
    made = [makers[kind](scene, random) for kind in makers]  # all of them, so that a choice of kinds changes no draw
    return [question for question in made if question and (kinds is None or question.kind in kinds)]


def _unique(scene: Scene) -> list[Solid]:
    """Returns shapes with a unique name."""
    names = Counter(solid.name for solid in scene.solids)
    return [solid for solid in scene.solids if names[solid.name] == 1]


def existence(scene: Scene, random: Random) -> Question | None:
    """Asks whether an object is there. Absent objects are chosen as POPE does: at random, popular, or adversarial."""
    there = {solid.name for solid in scene.solids}
    if random.random() < 0.5 and there:
        name, answer = random.choice(sorted(there)), "yes"
    else:
        name, answer = _absent(scene, there, random), "no"
    return Question(
        "existence", f"Is there {article(name)} in the picture?", answer, ("no" if answer == "yes" else "yes",)
    )


def _absent(scene: Scene, there: set[str], random: Random) -> str:
    colours = sorted({solid.colour for solid in scene.solids})
    shapes = sorted({solid.shape for solid in scene.solids})
    way = random.choice(("random", "popular", "adversarial"))
    if way == "adversarial" and scene.solids:  # colour and shape are both there, or one of them, but not together
        mixed = [f"{c} {s}" for c in colours for s in shapes]
        mixed += [f"{c} {s}" for c in colours for s in graph.SHAPES] + [
            f"{c} {s}" for c in graph.COLOURS for s in shapes
        ]
        together = [name for name in mixed if name not in there]
        if together:
            return random.choice(together[: max(1, len(colours) * len(shapes))])
    pool = ("red", "blue", "green", "yellow") if way == "popular" else tuple(graph.COLOURS)
    while True:
        name = f"{random.choice(pool)} {random.choice(graph.SHAPES)}"
        if name not in there:
            return name


def count(scene: Scene, random: Random) -> Question | None:
    """Asks for the number of a shape, of a colour, or of all shapes."""
    if not scene.solids:
        return None
    shapes = Counter(solid.shape for solid in scene.solids)
    colours = Counter(solid.colour for solid in scene.solids)
    way = random.choice(("shape", "colour", "all"))
    if way == "shape":
        what = random.choice(sorted(shapes) if random.random() < 0.8 else list(graph.SHAPES))
        number, text = shapes[what], f"How many {plural(what)} are there?"
    elif way == "colour":
        what = random.choice(sorted(colours) if random.random() < 0.8 else list(graph.COLOURS))
        number, text = colours[what], f"How many {what} shapes are there?"
    else:
        number, text = len(scene.solids), "How many coloured shapes are there?"
    near = [str(n) for n in near_numbers(number, random)]
    return with_misses("count", text, str(number), near)


def colour(scene: Scene, random: Random) -> Question | None:
    """Asks for the colour of the only object of a shape."""
    shapes = Counter(solid.shape for solid in scene.solids)
    alone = [solid for solid in scene.solids if shapes[solid.shape] == 1]
    if not alone:
        return None
    solid = random.choice(alone)
    near = shuffled(sorted({s.colour for s in scene.solids}), random) + shuffled(list(graph.COLOURS), random)
    return with_misses("colour", f"What colour is the {solid.shape}?", solid.colour, near)


def shape(scene: Scene, random: Random) -> Question | None:
    """Asks for the shape of the only object of a colour."""
    colours = Counter(solid.colour for solid in scene.solids)
    colours.update(item.colour for item in scene.items if isinstance(item, Arrow))  # an arrow is an object too
    alone = [solid for solid in scene.solids if colours[solid.colour] == 1]
    if not alone:
        return None
    solid = random.choice(alone)
    near = shuffled(sorted({s.shape for s in scene.solids}), random) + shuffled(list(graph.SHAPES), random)
    return with_misses("shape", f"What shape is the {solid.colour} object?", solid.shape, near)


def relation(scene: Scene, random: Random) -> Question | None:
    """Asks for a side, the nearest shape, or the direction of an arrow."""
    arrows = [item for item in scene.items if isinstance(item, Arrow)]
    unique = _unique(scene)
    ways: list[str] = ["arrow"] * bool(arrows) + ["side"] * (2 * (len(unique) >= 2)) + ["nearest"] * (len(unique) >= 3)
    if not ways:
        return None
    way = random.choice(ways)
    if way == "arrow":
        near = shuffled([d for d in graph.DIRECTIONS if d != arrows[0].direction], random)
        return with_misses("relation", "Where does the arrow point?", arrows[0].direction, near)
    if way == "side":
        return _side(unique, random)
    return _nearest(scene, unique, random)


def _side(unique: list[Solid], random: Random) -> Question | None:
    one, two = random.sample(unique, k=2)
    across, down = one.place.x - two.place.x, one.place.y - two.place.y
    if max(abs(across), abs(down)) < 0.1:
        return None
    if abs(across) >= abs(down):
        answer, text = ("left" if across < 0 else "right"), "left or right of"
    else:
        answer, text = ("above" if down < 0 else "below"), "above or below"
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}[answer]
    return Question("relation", f"Is the {one.name} {text} the {two.name}?", answer, (opposite,))


def _nearest(scene: Scene, unique: list[Solid], random: Random) -> Question | None:
    centre = random.choice(unique)
    others = sorted(
        (solid for solid in scene.solids if solid is not centre), key=lambda other: _distance(centre, other)
    )
    if _distance(centre, others[1]) < 1.25 * _distance(centre, others[0]):
        return None  # too close to call
    near = [other.name for other in others[1:]]
    return with_misses("relation", f"Which shape is nearest to the {centre.name}?", others[0].name, near)


def _distance(one: Item, two: Item) -> float:
    return float(((one.place.x - two.place.x) ** 2 + (one.place.y - two.place.y) ** 2) ** 0.5)


def read_text(scene: Scene, random: Random) -> Question | None:
    """Asks for the word of the sign, or the price of the tag."""
    signs = [item for item in scene.items if isinstance(item, Sign) and readable(item)]
    if not signs:
        return None
    sign = signs[0]
    if sign.is_price:
        near = [other_digit(sign.text, random) for _ in range(4)]
        return with_misses("text", "What is the price?", sign.text, near)
    return with_misses("text", "What does the sign say?", sign.text, alike_words(sign.text))


def read_digits(scene: Scene, random: Random) -> Question | None:
    """Asks for the number on the card."""
    cards = [item for item in scene.items if isinstance(item, Card) and readable(item)]
    if not cards:
        return None
    digits = cards[0].digits
    near = [digits[::-1]] if len(digits) > 1 and random.random() < 0.5 else []
    near += [other_digit(digits, random) for _ in range(4)]
    return with_misses("digits", "What number is on the card?", digits, near)


def read_dial(scene: Scene, random: Random) -> Question | None:
    """Asks for the value of the dial."""
    dials = [item for item in scene.items if isinstance(item, Dial) and readable(item)]
    if not dials:
        return None
    value = dials[0].value
    near = [str(n) for n in near_numbers(value, random) if n < graph.DIAL_MARKS]
    return with_misses("dial", "What does the dial show?", str(value), near)


def compare_bars(scene: Scene, random: Random) -> Question | None:
    """Asks for the colour of the highest or lowest bar."""
    charts = [item for item in scene.items if isinstance(item, Bars)]
    if not charts:
        return None
    by_height = [colour for _, colour in sorted(zip(charts[0].heights, charts[0].colours, strict=True), reverse=True)]
    highest = random.random() < 0.5
    order = by_height if highest else by_height[::-1]
    text = f"Which bar is the {'highest' if highest else 'lowest'}?"
    return with_misses("bars", text, order[0], order[1:])


def describe(scene: Scene, random: Random) -> Question | None:
    """Asks for all items, in reading order."""
    parts = [_noun(item) for item in scene.items]
    near = []
    for _ in range(3):
        changed = list(parts)
        at = random.randrange(len(parts))
        item = scene.items[at]
        if isinstance(item, Solid):
            other = random.choice([c for c in graph.COLOURS if c != item.colour])
            changed[at] = article(f"{other} {item.shape}")
        else:
            changed[at] = article(
                random.choice([n for n in ("sign", "card", "arrow", "dial", "bar chart") if n != item.name])
            )
        near.append(sentence(changed))
    return with_misses("describe", "Describe the picture briefly.", sentence(parts), near)


def _noun(item: Item) -> str:
    return article(item.name)


KINDS: dict[str, Maker] = {
    "existence": existence,
    "count": count,
    "colour": colour,
    "shape": shape,
    "relation": relation,
    "text": read_text,
    "digits": read_digits,
    "dial": read_dial,
    "bars": compare_bars,
    "describe": describe,
}
ABOUT_SOLIDS = ("existence", "count", "colour", "shape")
"""Kinds about coloured shapes alone."""

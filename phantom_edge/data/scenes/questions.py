"""Questions about a scene, answered from its graph, with wrong answers that are nearly right.

Ten kinds. A wrong answer is a near miss taken from the same picture where it has one: the colour of another object, the
count next to the right one, the digits with two swapped, the description with one thing changed.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Scene, Sign, Solid


@dataclass(frozen=True)
class Question:
    """A question of one ``kind``, its right answer, and near misses that are all wrong."""

    kind: str
    text: str
    answer: str
    rejected: tuple[str, ...]


Maker = Callable[[Scene, Random], Question | None]


def ask(scene: Scene, kinds: tuple[str, ...] | None = None, round: int = 0) -> list[Question]:
    """Returns one question of each kind that the scene can answer, in a fixed order; same scene, same questions.

    Another ``round`` gives others, as far as the scene has more.
    """
    random = Random(f"questions of {scene.key}" + (f", round {round}" if round else ""))
    made = [KINDS[kind](scene, random) for kind in KINDS]  # all of them, so that a choice of kinds changes no draw
    return [question for question in made if question and (kinds is None or question.kind in kinds)]


def _question(kind: str, text: str, answer: str, near: list[str], most: int = 3) -> Question:
    """Returns a question with up to ``most`` distinct near misses, the likeliest first."""
    wrong = [miss for miss in dict.fromkeys(near) if miss != answer]
    assert wrong, (kind, text, answer)
    return Question(kind, text, answer, tuple(wrong[:most]))


def _pick(pool: list[str], random: Random) -> list[str]:
    return random.sample(pool, k=len(pool))


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
    return Question("existence", f"Is there {_a(name)} in the picture?", answer, ("no" if answer == "yes" else "yes",))


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
        number, text = shapes[what], f"How many {_plural(what)} are there?"
    elif way == "colour":
        what = random.choice(sorted(colours) if random.random() < 0.8 else list(graph.COLOURS))
        number, text = colours[what], f"How many {what} shapes are there?"
    else:
        number, text = len(scene.solids), "How many coloured shapes are there?"
    near = [str(n) for n in _pick_near(number, random)]
    return _question("count", text, str(number), near)


def _plural(shape: str) -> str:
    return {"cross": "crosses"}.get(shape, shape + "s")


def _pick_near(number: int, random: Random) -> list[int]:
    steps = [number + 1, number - 1] if random.random() < 0.5 else [number - 1, number + 1]
    return [step for step in [*steps, number + 2] if step >= 0]


def colour(scene: Scene, random: Random) -> Question | None:
    """Asks for the colour of the only object of a shape."""
    shapes = Counter(solid.shape for solid in scene.solids)
    alone = [solid for solid in scene.solids if shapes[solid.shape] == 1]
    if not alone:
        return None
    solid = random.choice(alone)
    near = _pick(sorted({s.colour for s in scene.solids}), random) + _pick(list(graph.COLOURS), random)
    return _question("colour", f"What colour is the {solid.shape}?", solid.colour, near)


def shape(scene: Scene, random: Random) -> Question | None:
    """Asks for the shape of the only object of a colour."""
    colours = Counter(solid.colour for solid in scene.solids)
    colours.update(item.colour for item in scene.items if isinstance(item, Arrow))  # an arrow is an object too
    alone = [solid for solid in scene.solids if colours[solid.colour] == 1]
    if not alone:
        return None
    solid = random.choice(alone)
    near = _pick(sorted({s.shape for s in scene.solids}), random) + _pick(list(graph.SHAPES), random)
    return _question("shape", f"What shape is the {solid.colour} object?", solid.shape, near)


def relation(scene: Scene, random: Random) -> Question | None:
    """Asks for a side, the nearest shape, or the direction of an arrow."""
    arrows = [item for item in scene.items if isinstance(item, Arrow)]
    unique = _unique(scene)
    ways: list[str] = ["arrow"] * bool(arrows) + ["side"] * (2 * (len(unique) >= 2)) + ["nearest"] * (len(unique) >= 3)
    if not ways:
        return None
    way = random.choice(ways)
    if way == "arrow":
        near = _pick([d for d in graph.DIRECTIONS if d != arrows[0].direction], random)
        return _question("relation", "Where does the arrow point?", arrows[0].direction, near)
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
    return _question("relation", f"Which shape is nearest to the {centre.name}?", others[0].name, near)


def _distance(one: Item, two: Item) -> float:
    return float(((one.place.x - two.place.x) ** 2 + (one.place.y - two.place.y) ** 2) ** 0.5)


def read_text(scene: Scene, random: Random) -> Question | None:
    """Asks for the word of the sign, or the price of the tag."""
    signs = [item for item in scene.items if isinstance(item, Sign)]
    if not signs:
        return None
    sign = signs[0]
    if sign.is_price:
        near = [_other_digit(sign.text, random) for _ in range(4)]
        return _question("text", "What is the price?", sign.text, near)
    alike = sorted(graph.WORDS, key=lambda word: (-_shared(word, sign.text), word))
    return _question("text", "What does the sign say?", sign.text, alike[:4])


def _shared(word: str, other: str) -> int:
    return sum(a == b for a, b in zip(word, other, strict=False)) - abs(len(word) - len(other))


def read_digits(scene: Scene, random: Random) -> Question | None:
    """Asks for the number on the card."""
    cards = [item for item in scene.items if isinstance(item, Card)]
    if not cards:
        return None
    digits = cards[0].digits
    near = [digits[::-1]] if len(digits) > 1 and random.random() < 0.5 else []
    near += [_other_digit(digits, random) for _ in range(4)]
    return _question("digits", "What number is on the card?", digits, near)


def _other_digit(text: str, random: Random) -> str:
    """Returns ``text`` with one of its digits changed."""
    at = random.choice([i for i, letter in enumerate(text) if letter.isdigit()])
    other = random.choice([d for d in "0123456789" if d != text[at]])
    return text[:at] + other + text[at + 1 :]


def read_dial(scene: Scene, random: Random) -> Question | None:
    """Asks for the value of the dial."""
    dials = [item for item in scene.items if isinstance(item, Dial)]
    if not dials:
        return None
    value = dials[0].value
    near = [str(n) for n in _pick_near(value, random) if n < graph.DIAL_MARKS]
    return _question("dial", "What does the dial show?", str(value), near)


def compare_bars(scene: Scene, random: Random) -> Question | None:
    """Asks for the colour of the highest or lowest bar."""
    charts = [item for item in scene.items if isinstance(item, Bars)]
    if not charts:
        return None
    by_height = [colour for _, colour in sorted(zip(charts[0].heights, charts[0].colours, strict=True), reverse=True)]
    highest = random.random() < 0.5
    order = by_height if highest else by_height[::-1]
    text = f"Which bar is the {'highest' if highest else 'lowest'}?"
    return _question("bars", text, order[0], order[1:])


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
            changed[at] = _a(f"{other} {item.shape}")
        else:
            changed[at] = _a(
                random.choice([n for n in ("sign", "card", "arrow", "dial", "bar chart") if n != item.name])
            )
        near.append(_sentence(changed))
    return _question("describe", "Describe the picture briefly.", _sentence(parts), near)


def _noun(item: Item) -> str:
    return _a(item.name)


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _sentence(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


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

"""Descriptions of scenes of any shape: the question decides their order and form, and the scene leaves no doubt."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Row, Scene, Sign, Solid
from phantom_edge.data.scenes.misses import Question, article, sentence, with_misses

GAP = 0.05
"""Least difference that decides an order, in shorter sides; and least distance from a border between places."""
MOST_PLACED = 5
"""Things that a description with places or details has at most, so that it stays short."""
ACROSS, DOWN = ("left", "middle", "right"), ("top", "middle", "bottom")
OTHERS = ("a sign", "a card", "an arrow", "a dial", "a bar chart")


@dataclass(frozen=True)
class Thing:
    """An item or a row in words: its name, its name with what can be read off it, and its centre."""

    name: str
    detail: str
    x: float
    y: float


Form = tuple[str, str, list[str]]
"""Question, answer, near misses."""


def describe_in_a_form(scene: Scene, random: Random) -> Question | None:
    """Asks for a description in one of FORMS, among those in which the scene leaves no doubt."""
    things = [*map(_thing, scene.items), *map(_thing_of_row, scene.rows)]
    if not things:
        return None
    forms = list(FORMS)
    random.shuffle(forms)
    for form in forms:
        found = form(scene, things, random)
        if found:
            text, answer, near = found
            return with_misses("describe", text, answer, near) if any(miss != answer for miss in near) else None
    return None


def briefly(scene: Scene, things: list[Thing], random: Random) -> Form | None:
    """Asks for all things, row by row, each from left to right."""
    order = in_reading_order(things)
    if order is None:
        return None
    return "Describe the picture briefly.", _listed(order), _near(order, random)


def in_an_order(scene: Scene, things: list[Thing], random: Random) -> Form | None:
    """Asks for all things from one side to the other."""
    start, end = random.choice((("left", "right"), ("right", "left"), ("top", "bottom"), ("bottom", "top")))

    def position(thing: Thing) -> float:
        at = thing.x if start in ("left", "right") else thing.y
        return at if start in ("left", "top") else -at

    order = sorted(things, key=position)
    if any(position(two) - position(one) < GAP for one, two in pairwise(order)):
        return None
    return f"List everything from {start} to {end}.", _listed(order), _near(order, random)


def with_places(scene: Scene, things: list[Thing], random: Random) -> Form | None:
    """Asks for all things with their places, in thirds of the picture."""
    order, places = in_reading_order(things), [place_of(thing, scene) for thing in things]
    if order is None or None in places or len(things) > MOST_PLACED:
        return None
    by_thing = {id(thing): place for thing, place in zip(things, places, strict=True)}
    parts = [f"{thing.name} {by_thing[id(thing)]}" for thing in order]
    near = []
    for _ in range(3):
        at = random.randrange(len(order))
        moved = random.choice([place for place in PLACES if place != by_thing[id(order[at])]])
        near.append(sentence([*parts[:at], f"{order[at].name} {moved}", *parts[at + 1 :]]))
    return "What is where in the picture?", sentence(parts), near


def with_details(scene: Scene, things: list[Thing], random: Random) -> Form | None:
    """Asks for all things with what can be read off them."""
    order = in_reading_order(things)
    if order is None or len(things) > MOST_PLACED or all(thing.name == thing.detail for thing in things):
        return None
    parts = [thing.detail for thing in order]
    near = [_listed(order)]  # without the details
    near += [sentence([*parts[:at], other, *parts[at + 1 :]]) for at, other in _changes(order, random)]
    return "Describe the picture with all that can be read.", sentence(parts), near


def in_a_half(scene: Scene, things: list[Thing], random: Random) -> Form | None:
    """Asks for the things in one half of the picture."""
    half = random.choice(("left", "right", "top", "bottom"))
    middle = (scene.width if half in ("left", "right") else scene.height) / 2
    at = [thing.x if half in ("left", "right") else thing.y for thing in things]
    order = in_reading_order(things)
    if order is None or any(abs(position - middle) < GAP for position in at):
        return None
    is_first = half in ("left", "top")
    inside = {id(thing) for thing, position in zip(things, at, strict=True) if (position < middle) == is_first}
    chosen = [thing for thing in order if id(thing) in inside]
    others = [thing for thing in order if id(thing) not in inside]
    near = [_listed(others), *(_near(chosen, random) if chosen else []), _listed(order), "nothing"]
    return f"What is in the {half} half of the picture?", _listed(chosen), near


FORMS: tuple[Callable[[Scene, list[Thing], Random], Form | None], ...] = (
    briefly,
    in_an_order,
    with_places,
    with_details,
    in_a_half,
)


def in_reading_order(things: list[Thing]) -> list[Thing] | None:
    """Returns things band by band of a third of the shorter side, left to right; None where that is in doubt."""
    bands: dict[int, list[Thing]] = {}
    for thing in things:
        if _is_near_a_border(thing.y * 3):
            return None
        bands.setdefault(int(thing.y * 3), []).append(thing)
    for band in bands.values():
        band.sort(key=lambda thing: thing.x)
        if any(two.x - one.x < GAP for one, two in pairwise(band)):
            return None
    return [thing for number in sorted(bands) for thing in bands[number]]


def _is_near_a_border(thirds: float) -> bool:
    return abs(thirds - round(thirds)) < 3 * GAP and round(thirds) > 0


def _place(across: str, down: str) -> str:
    if across == down:
        return "in the middle"
    if across == "middle":
        return f"at the {down}"
    return f"on the {across}" if down == "middle" else f"at the {down} {across}"


PLACES = tuple(_place(across, down) for down in DOWN for across in ACROSS)


def place_of(thing: Thing, scene: Scene) -> str | None:
    """Returns the third of the picture, across and down, that a thing's centre lies in; None near a border."""
    thirds = 3 * thing.x / scene.width, 3 * thing.y / scene.height
    if any(min(abs(third - 1), abs(third - 2)) < 3 * GAP for third in thirds):
        return None
    return _place(ACROSS[int(thirds[0])], DOWN[int(thirds[1])])


def _listed(things: list[Thing]) -> str:
    return sentence([thing.name for thing in things]) if things else "nothing"


def _near(order: list[Thing], random: Random) -> list[str]:
    """Returns lists with neighbours swapped, a thing left out, and a thing changed."""
    names = [thing.name for thing in order]
    near = []
    if len(names) > 1:
        at = random.randrange(len(names) - 1)
        near.append(sentence([*names[:at], names[at + 1], names[at], *names[at + 2 :]]))
        near.append(sentence([*names[:at], *names[at + 1 :]]))
    near += [sentence([*names[:at], other, *names[at + 1 :]]) for at, other in _changes(order, random)]
    random.shuffle(near)
    return near


def _changes(order: list[Thing], random: Random) -> list[tuple[int, str]]:
    """Returns places in a list, each with a wrong thing for it."""
    found = []
    for _ in range(2):
        at = random.randrange(len(order))
        name = order[at].name
        colour = next((colour for colour in graph.COLOURS if f" {colour} " in f"{name} "), None)
        if colour:
            other = random.choice([c for c in graph.COLOURS if c != colour])
            found.append((at, article(name.split(" ", 1)[1].replace(colour, other))))
        else:
            found.append((at, random.choice([other for other in OTHERS if other != name])))
    return found


def _thing(item: Item) -> Thing:
    name = article(item.name)
    return Thing(name, f"{name}{_reading(item)}", item.place.x, item.place.y)


def _reading(item: Item) -> str:
    match item:
        case Sign() | Card() | Dial() if item.spoiled:
            return " that cannot be read"
        case Sign():
            return f" of {item.text}" if item.is_price else f" that says {item.text}"
        case Card():
            return f" with {item.digits}"
        case Dial():
            return f" at {item.value}"
        case Arrow():
            return f" pointing {item.direction}"
        case Bars() | Solid():
            return ""


def _thing_of_row(row: Row) -> Thing:
    first, last = row.members[0].place, row.members[-1].place
    name = f"a row of {len(row.members)} shapes"
    return Thing(name, name, (first.x + last.x) / 2, first.y)

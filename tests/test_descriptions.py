"""Descriptions of scenes of any shape: the words of the question determine the answer."""

import re
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.data.scenes.descriptions import FORMS, GAP, PLACES
from phantom_edge.data.scenes.graph import Arrow, Card, Dial, Item, Scene, Sign
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import SPLITS, Mix, make_scene

some = settings(max_examples=200, deadline=None)
MOST_TOKENS = 64

Named = tuple[str, float, float]


def contents(scene: Scene) -> list[Named]:
    """Name and centre of every item and row."""
    found = [(("an " if i.name[0] in "aeiou" else "a ") + i.name, i.place.x, i.place.y) for i in scene.items]
    for row in scene.rows:
        xs = [member.place.x for member in row.members]
        found.append((f"a row of {len(xs)} shapes", sum(xs) / len(xs), row.members[0].place.y))
    return found


def parts(text: str) -> list[str]:
    """The members of a list in a sentence."""
    return re.split(r", | and ", text) if text != "nothing" else []


def by_rows(things: list[Named]) -> list[str]:
    return [name for name, _, _ in sorted(things, key=lambda thing: (int(thing[2] * 3), thing[1]))]


def place_in_words(x: float, y: float, scene: Scene) -> str:
    across = "left" if x < scene.width / 3 else "right" if x > scene.width * 2 / 3 else ""
    down = "top" if y < scene.height / 3 else "bottom" if y > scene.height * 2 / 3 else ""
    if not across and not down:
        return "in the middle"
    return f"on the {across}" if not down else f"at the {down} {across}".strip()


def check(scene: Scene, text: str, answer: str) -> None:
    things = contents(scene)
    if text == "Describe the picture briefly.":
        assert parts(answer) == by_rows(things)
    elif found := re.fullmatch(r"List everything from (\w+) to (\w+)\.", text):
        axis = 1 if found[1] in ("left", "right") else 2
        order = sorted(things, key=lambda thing: thing[axis], reverse=found[1] in ("right", "bottom"))
        assert parts(answer) == [thing[0] for thing in order]
        assert all(abs(two[axis] - one[axis]) >= GAP for one, two in pairwise(order))
    elif text == "What is where in the picture?":
        order = sorted(things, key=lambda thing: (int(thing[2] * 3), thing[1]))
        assert parts(answer) == [f"{name} {place_in_words(x, y, scene)}" for name, x, y in order]
        assert {place_in_words(x, y, scene) for _, x, y in things} <= set(PLACES)
    elif found := re.fullmatch(r"What is in the (\w+) half of the picture\?", text):
        axis, middle = (1, scene.width / 2) if found[1] in ("left", "right") else (2, scene.height / 2)
        first = found[1] in ("left", "top")
        assert parts(answer) == by_rows([thing for thing in things if (thing[axis] < middle) == first])
    else:
        assert text == "Describe the picture with all that can be read."
        assert len(parts(answer)) == len(things) and all(detail(item) in answer for item in scene.items)


def detail(item: Item) -> str:
    if isinstance(item, Sign | Card | Dial) and item.spoiled:
        return f"{item.name} that cannot be read"
    match item:
        case Sign():
            return f"{item.name} {'of' if item.is_price else 'that says'} {item.text}"
        case Card():
            return f"{item.name} with {item.digits}"
        case Dial():
            return f"{item.name} at {item.value}"
        case Arrow():
            return f"arrow pointing {item.direction}"
    return item.name


@some
@given(
    seed=st.integers(0, 10**9),
    split=st.sampled_from(SPLITS),
    mix=st.sampled_from(("wide", "fine")),
    number=st.integers(0, 5),
)
def test_descriptions_are_true_and_short(seed: int, split: str, mix: Mix, number: int) -> None:
    scene = make_scene(seed, split, mix)
    for question in ask(scene, ("describe",), number):
        check(scene, question.text, question.answer)
        assert question.rejected and question.answer not in question.rejected
        pieces = re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z0-9]+|[0-9]", question.answer)  # as nano's tokenizer splits
        assert len(pieces) <= MOST_TOKENS


def test_every_form_occurs_and_a_round_changes_it() -> None:
    texts: Counter[str] = Counter()
    for seed in range(300):
        for mix in ("wide", "fine"):
            scene = make_scene(seed, mix=mix)
            for number in range(2):
                texts.update(re.sub("left|right|top|bottom", "*", q.text) for q in ask(scene, ("describe",), number))
    assert len(texts) == len(FORMS) and min(texts.values()) > 20
    assert any(
        len({q.text for number in range(8) for q in ask(make_scene(seed, mix="wide"), ("describe",), number)}) > 2
        for seed in range(20)
    )

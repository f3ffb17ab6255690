"""Questions that a picture cannot answer: the right answer is :data:`UNKNOWN`, wrong ones are confident guesses.

Each is a question that another scene of the same mix does answer, so that no wording gives away whether it can be
answered, and its rejected answers are those of that other scene. It is asked where the scene lacks what it is about, or
where that cannot be read. Questions whether something is there, and how many, always have an answer.
"""

import re
from collections.abc import Callable
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Item, Scene, Sign, readable
from phantom_edge.data.scenes.misses import Question
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import Mix, make_scene

UNKNOWN = "I can't tell"
"""The right answer to a question that the picture does not answer."""
KIND = "unknown"
ALWAYS_ANSWERABLE = ("existence", "count", "describe")
DONORS = 6
"""Other scenes that are tried for a question that the scene cannot answer."""


def unanswerable(scene: Scene, round: int = 0, share: float = 1.0) -> list[Question]:
    """Returns questions that ``scene`` cannot answer, at most one like each kind; same scene, same questions.

    A kind is tried with probability ``share``, and then only if a first other scene answers a question of that kind:
    so, at a ``share`` of 1, of each wording about as many are unanswerable as ``ask`` has answerable ones.
    """
    random = Random(f"unanswerable of {scene.key}" + (f", round {round}" if round else ""))
    donors = [_by_kind(scene, random, round)]
    found = []
    for kind in [kind for kind in donors[0] if kind not in ALWAYS_ANSWERABLE and random.random() < share]:
        for number in range(DONORS):
            if number == len(donors):
                donors.append(_by_kind(scene, random, round))
            if kind not in donors[number]:
                continue
            question = donors[number][kind]
            text = _with_a_name_from(scene, question.text, random) if random.random() < 0.5 else question.text
            if is_missing(scene, text):
                found.append(unknown(question, text))
                break
    return found


def unknown(question: Question, text: str | None = None) -> Question:
    """Returns ``question`` where nothing answers it: its answers become guesses. ``text`` replaces its words."""
    guesses = tuple(dict.fromkeys((question.answer, *question.rejected)))[:3]
    return Question(KIND, text or question.text, UNKNOWN, guesses)


def _by_kind(scene: Scene, random: Random, round: int) -> dict[str, Question]:
    """Returns the questions of another scene of the same split and mix."""
    split, mix = split_and_mix(scene)
    donor = make_scene(random.randrange(10**9), split, mix)
    return {question.kind: question for question in ask(donor, round=round)}


def split_and_mix(scene: Scene) -> tuple[str, Mix]:
    """Returns the split and the mix that the key of ``scene`` names."""
    split, _, *rest = scene.key.split("/")
    mix: Mix = rest[0] if rest else "plain"  # type: ignore[assignment]
    return split, mix


def _with_a_name_from(scene: Scene, text: str, random: Random) -> str:
    """Returns a question about two shapes with one replaced by a shape that is there, so that only one is missing."""
    names = sorted({solid.name for solid in scene.solids})
    found = re.fullmatch(r"Is the (\w+ \w+) (left or right of|above or below) the (\w+ \w+)\?", text)
    if not names or not found:
        return text
    one, where, two = found.groups()
    name = random.choice(names)
    return f"Is the {name} {where} the {two}?" if random.random() < 0.5 else f"Is the {one} {where} the {name}?"


def is_missing(scene: Scene, text: str) -> bool:
    """True if the scene lacks what the question ``text`` presupposes, or nobody can read it. False if in doubt."""
    for pattern, test in MISSING:
        found = re.fullmatch(pattern, text)
        if found:
            return test(scene, *found.groups())
    return False


def _shapes(scene: Scene) -> set[str]:
    """Returns all that might be called a shape; a dial is a circle."""
    there = {solid.shape for solid in scene.solids} | {m.shape for row in scene.rows for m in row.members}
    return there | {"circle" for item in scene.items if isinstance(item, Dial)}


def _colours(scene: Scene) -> set[str]:
    """Returns all colours that something in the picture has."""
    there = {m.colour for row in scene.rows for m in row.members}
    for item in scene.items:
        there |= _colours_of(item)
    return there


def _colours_of(item: Item) -> set[str]:
    match item:
        case Bars():
            return {"white", *item.colours}
        case Sign():
            return {"yellow", "black"} if item.is_price else {"green", "white"}
        case Card():
            return {"white", "black"}
        case Dial():
            return {"white", "black", "red"}
        case _:
            return {item.colour}


def _lacks_name(scene: Scene, *names: str) -> bool:
    there = {solid.name for solid in scene.solids} | {m.name for row in scene.rows for m in row.members}
    return not set(names) <= there


def _lacks(kind: type[Sign | Card | Dial], is_price: bool | None = None) -> Callable[[Scene], bool]:
    """Returns a test that no sign, card or dial of any size can be read."""

    def test(scene: Scene) -> bool:
        there = [item for item in scene.items if isinstance(item, kind)]
        return not any(
            readable(item, item.small) and (is_price is None or (isinstance(item, Sign) and item.is_price == is_price))
            for item in there
        )

    return test


def _row_ends_before(scene: Scene, ordinal: str, _side: str) -> bool:
    place = graph.ORDINALS.index(ordinal)
    return all(len(row.members) <= place for row in scene.rows)


MISSING: tuple[tuple[str, Callable[..., bool]], ...] = (
    (r"What colour is the (\w+)\?", lambda scene, shape: shape not in _shapes(scene)),
    (r"What shape is the (\w+) object\?", lambda scene, colour: colour not in _colours(scene)),
    (
        r"Is the (\w+ \w+) (?:left or right of|above or below) the (\w+ \w+)\?",
        lambda scene, one, two: one != two and _lacks_name(scene, one, two),
    ),
    (r"Which shape is nearest to the (\w+ \w+)\?", _lacks_name),
    (r"Where does the arrow point\?", lambda scene: not any(isinstance(item, Arrow) for item in scene.items)),
    (r"What does the (?:small )?sign say\?", _lacks(Sign, False)),
    (r"What is the (?:small )?price\?", _lacks(Sign, True)),
    (r"What number is on the (?:small )?card\?", _lacks(Card)),
    (r"What does the (?:small )?dial show\?", _lacks(Dial)),
    (
        r"Which bar is the (?:highest|lowest)\?",
        lambda scene: not any(isinstance(item, Bars) for item in scene.items),
    ),
    (r"Which shape is (\w+) from the (left|right) in the row\?", _row_ends_before),
)
"""Words of questions, and a test whether a scene lacks what they presuppose."""

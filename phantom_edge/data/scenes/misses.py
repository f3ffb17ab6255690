"""A question with its right answer and near misses, and the words that both are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.graph import Scene


@dataclass(frozen=True)
class Question:
    """A question of one ``kind``, its right answer, and near misses that are all wrong."""

    kind: str
    text: str
    answer: str
    rejected: tuple[str, ...]


Maker = Callable[[Scene, Random], Question | None]


def with_misses(kind: str, text: str, answer: str, near: list[str], most: int = 3) -> Question:
    """Returns a question with up to ``most`` distinct near misses, the likeliest first."""
    wrong = [miss for miss in dict.fromkeys(near) if miss != answer]
    assert wrong, (kind, text, answer)
    return Question(kind, text, answer, tuple(wrong[:most]))


def shuffled(pool: list[str], random: Random) -> list[str]:
    """Returns ``pool`` in a random order."""
    return random.sample(pool, k=len(pool))


def plural(shape: str) -> str:
    """Returns the plural of a shape."""
    return {"cross": "crosses"}.get(shape, shape + "s")


def near_numbers(number: int, random: Random) -> list[int]:
    """Returns numbers from 0 on that are one or two away from ``number``."""
    steps = [number + 1, number - 1] if random.random() < 0.5 else [number - 1, number + 1]
    return [step for step in [*steps, number + 2] if step >= 0]


def alike_words(word: str) -> list[str]:
    """Returns the signs' words that share most letters with ``word``, itself among them."""
    return sorted(graph.WORDS, key=lambda other: (-_shared(other, word), other))[:4]


def _shared(word: str, other: str) -> int:
    return sum(a == b for a, b in zip(word, other, strict=False)) - abs(len(word) - len(other))


def other_digit(text: str, random: Random) -> str:
    """Returns ``text`` with one of its digits changed."""
    at = random.choice([i for i, letter in enumerate(text) if letter.isdigit()])
    other = random.choice([d for d in "0123456789" if d != text[at]])
    return text[:at] + other + text[at + 1 :]


def article(noun: str) -> str:
    """Returns ``noun`` with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def sentence(parts: list[str]) -> str:
    """Returns ``parts`` as a list with commas and "and"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

"""Figures of answers by kind of question and overall, with intervals and the chance level."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantom_edge.data.examples import Example
from phantom_edge.data.metrics import YesNo, named_share, normalise, yes_no, yes_or_no
from phantom_edge.evaluate.intervals import Floats, Interval, bootstrap, mean_interval

LISTS = "describe"
"""The kind whose answers are lists: its score also has the share of items named right."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Score:
    """Figures of a kind.

    ``chance`` is the accuracy of always giving ``chance_answer``, the kind's commonest answer in these data (over all
    kinds: of doing so in each). ``yes_no`` and ``f1`` only where every known answer is yes or no, ``named`` only for
    lists.
    """

    kind: str
    questions: int
    pictures: int
    right: int
    accuracy: Estimate
    chance: float
    chance_answer: str | None
    yes_no: YesNo | None = None
    f1: Interval | None = None
    named: Estimate | None = None


@dataclass(frozen=True)
class Scores:
    """The kinds in the order of the data, and all questions together."""

    kinds: list[Score]
    overall: Score


def judge(examples: Sequence[Example], answers: Sequence[str]) -> list[bool]:
    """Returns True for each right answer."""
    return [example.is_right(answer) for example, answer in zip(examples, answers, strict=True)]


def score(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """Returns the figures of ``answers``, one to each example. ``examples`` may not be empty."""
    assert examples
    right = np.array(judge(examples, answers), np.float64)
    pictures = _numbers(examples)
    kinds: dict[str, list[int]] = {}
    for number, example in enumerate(examples):
        kinds.setdefault(example.kind, []).append(number)
    scores = []
    for kind, numbers in kinds.items():
        some = [examples[number] for number in numbers]
        scores.append(
            _score_kind(kind, some, [answers[number] for number in numbers], right[numbers], pictures[numbers])
        )
    overall = Score(
        "all",
        len(examples),
        len(set(pictures.tolist())),
        int(right.sum()),
        Estimate(float(right.mean()), mean_interval(right, pictures)),
        sum(part.chance * part.questions for part in scores) / len(examples),
        None,
    )
    return Scores(scores, overall)


def _numbers(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Returns a number for each example's pictures; a question without any has its own."""
    known: dict[object, int] = {}
    return np.array(
        [known.setdefault(example.images or number, len(known)) for number, example in enumerate(examples)], np.int64
    )


def _score_kind(
    kind: str, examples: Sequence[Example], answers: Sequence[str], right: Floats, pictures: NDArray[np.int64]
) -> Score:
    commonest = Counter(normalise(example.gold) for example in examples).most_common(1)[0][0]
    chance = sum(example.is_right(commonest) for example in examples) / len(examples)
    figures, f1 = _yes_no(examples, answers, pictures)
    named = None
    if kind == LISTS:
        shares = np.array([named_share(a, e.gold) for a, e in zip(answers, examples, strict=True)], np.float64)
        named = Estimate(float(shares.mean()), mean_interval(shares, pictures))
    accuracy = Estimate(float(right.mean()), mean_interval(right, pictures))
    number = len(set(pictures.tolist()))
    return Score(kind, len(examples), number, int(right.sum()), accuracy, chance, commonest, figures, f1, named)


def _yes_no(
    examples: Sequence[Example], answers: Sequence[str], pictures: NDArray[np.int64]
) -> tuple[YesNo | None, Interval | None]:
    """Returns POPE's figures and the interval of F1, where the known answers are yes and no."""
    golds = [normalise(example.gold) for example in examples]
    if not set(golds) <= {"yes", "no"}:
        return None, None
    given = [yes_or_no(answer) for answer in answers]
    said, true = np.array(given) == "yes", np.array(golds) == "yes"
    _, numbers = np.unique(pictures, return_inverse=True)
    each = (np.bincount(numbers, what.astype(np.float64)) for what in (said & true, said != true))
    sums = np.stack(list(each), axis=1).astype(np.float64)
    # F1 = 2 hits / (2 hits + false alarms + misses), 0 where there is neither
    f1 = bootstrap(sums, lambda totals: 2 * totals[:, 0] / np.maximum(2 * totals[:, 0] + totals[:, 1], 1))
    return yes_no(given, golds), f1

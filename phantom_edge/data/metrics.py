"""Metrics as pure functions of an answer and the known one."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RELAXED_TOLERANCE = 0.05
"""ChartQA's tolerance of a number, as a share of the known one."""

Rule = Callable[[str, str], bool]
"""``(answer, known answer) -> right``."""


def normalise(answer: str) -> str:
    """Returns an answer in the form to compare, without white space at the ends, capitals and one final period."""
    return answer.strip().removesuffix(".").rstrip().casefold()


def exact_match(answer: str, gold: str) -> bool:
    """True where both are equal once normalised; "Yes." is right for "yes", "yes it is" is wrong."""
    return normalise(answer) == normalise(gold)


def relaxed_match(answer: str, gold: str) -> bool:
    """ChartQA's rule: numbers within 5 % of the known one (0 only exactly), everything else by exact match.

    A per cent sign divides by 100 on both sides, and commas between digits are dropped. Source: arXiv 2203.10244,
    section 5.1.
    """
    given, known = to_number(answer), to_number(gold)
    if given is None or known is None:
        return exact_match(answer, gold)
    return abs(given - known) <= RELAXED_TOLERANCE * abs(known)


def to_number(text: str) -> float | None:
    """Returns a text as a number, or None; "1,234.5", "12%" and "-3." are numbers, "12 apples" and "nan" are none."""
    text = normalise(text).replace(" ", "")
    found = re.fullmatch(r"([+-]?)((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)(%?)", text, re.ASCII)
    if found is None:
        return None
    number = float(found[1] + found[2].replace(",", ""))
    return number / 100 if found[3] else number


def yes_or_no(answer: str) -> str:
    """Reads an answer as POPE does: no where its first sentence holds the word no or not, else yes."""
    words = re.findall(r"[a-z']+", answer.partition(".")[0].casefold())
    return "no" if {"no", "not"} & set(words) else "yes"


def yes_no_match(answer: str, gold: str) -> bool:
    """True where an answer, read as POPE does, agrees with a yes or no."""
    return yes_or_no(answer) == normalise(gold)


def chosen_letter(answer: str) -> str | None:
    """Returns the choice that an answer names, or None: "B", "b", "(B)", "B. red", "Option B", "The answer is B.".

    One rule for all benchmarks of choices. It agrees with the released code's rule for each on such answers, and does
    not take a word's capital for a choice, as some of those rules do.
    """
    found = re.match(r"\s*(?:(?:the )?answer is|option)?\s*(?:\(([a-z])\)|([a-z])(?=\s*$|[.,:;)]))", answer, re.I)
    return (found[1] or found[2]).upper() if found else None


def letter_match(answer: str, gold: str) -> bool:
    """True where an answer names the right choice."""
    return chosen_letter(answer) == normalise(gold).upper()


@dataclass(frozen=True)
class YesNo:
    """POPE's figures, "yes" being the positive answer; each is 0 where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float
    yes_ratio: float


def yes_no(answers: Sequence[str], golds: Sequence[str]) -> YesNo:
    """Returns figures of answers that are "yes" or "no"; source: POPE (arXiv 2305.10355)."""
    pairs = Counter(zip(answers, golds, strict=True))
    hits, false_alarms, misses = pairs["yes", "yes"], pairs["yes", "no"], pairs["no", "yes"]
    return YesNo(
        precision=_ratio(hits, hits + false_alarms),
        recall=_ratio(hits, hits + misses),
        f1=_ratio(2 * hits, 2 * hits + false_alarms + misses),
        yes_ratio=_ratio(hits + false_alarms, pairs.total()),
    )


def named_share(answer: str, gold: str) -> float:
    """Returns the right share of a list ("a red star and a dial") in any order: shared items over the longer list.

    Items that are not there cost as much as items left out; an item that is there twice must be named twice.
    """
    given, known = Counter(_items(answer)), Counter(_items(gold))
    return _ratio((given & known).total(), max(given.total(), known.total()))


def _items(text: str) -> list[str]:
    parts = re.split(r",\s*(?:and\s+)?|\s+and\s+", normalise(text))
    return [item for part in parts if (item := re.sub(r"^(?:an?|the)\s+", "", part.strip()))]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0

"""Check a data file before hours of training on it: every fault by line, and a copy without them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import mean

from phantom_edge.data.rows import Picture, Sample
from phantom_edge.data.sources import is_lines, rows_of
from phantom_edge.data.triples import Triple, moved, same_answer
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_file
from phantom_edge.processing.images import open_image

SKEW = 1.5
"""Chosen answers longer than the rejected ones by this factor, or shorter, teach length instead of truth."""

FILES_REMEMBERED = 4096
KINDS_COUNTED = 256
"""Bounds of the memory that a file of any length takes."""


@dataclass
class Report:
    """Result of a check; ``faults`` counts lines by fault, ``examples`` holds the first places of each."""

    lines: int = 0
    good: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int | str]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    chosen_letters: int = 0
    rejected_letters: int = 0

    @property
    def length_skew(self) -> float:
        """Mean length of chosen over rejected answers, in letters (1 where there is nothing to compare)."""
        return self.chosen_letters / self.rejected_letters if self.rejected_letters and self.chosen_letters else 1.0

    @property
    def is_skewed(self) -> bool:
        """True where the length alone gives the chosen answer away."""
        return not 1 / SKEW <= self.length_skew <= SKEW

    def add(self, fault: str, place: int | str) -> None:
        """Count a fault."""
        self.faults[fault] += 1
        self.examples.setdefault(fault, [])
        if len(self.examples[fault]) < 5:
            self.examples[fault].append(place)

    def count(self, triple: Triple) -> None:
        """Count a triple that is kept."""
        kind = triple.kind or "-"
        self.kinds[kind if kind in self.kinds or len(self.kinds) < KINDS_COUNTED else "(other kinds)"] += 1
        if triple.rejected:
            self.chosen_letters += len(triple.chosen)
            self.rejected_letters += round(mean(map(len, triple.rejected)))


def _empty(triple: Triple) -> bool:
    return not triple.question.strip() or not triple.chosen.strip() or not all(r.strip() for r in triple.rejected)


def _same(triple: Triple) -> bool:
    return any(same_answer(rejected, triple.chosen) for rejected in triple.rejected)


def _leaks(triple: Triple) -> bool:
    """True where the question holds its answer, but not as one of a choice ("left or right")."""
    words = triple.question.casefold().split()
    chosen, question = triple.chosen.strip().casefold(), " ".join(words)
    if not chosen or f" {chosen} " not in f" {question.strip('?.!')} ":
        return False
    return not any(f" {rejected.strip().casefold()} " in f" {question.strip('?.!')} " for rejected in triple.rejected)


CHECKS: dict[str, Callable[[Triple], bool]] = {
    "an empty question or answer": _empty,
    "a rejected answer that equals the chosen one": _same,
    "a question that contains its answer": _leaks,
}


def validate(source: Path | str, repaired: Path | None = None, open_pictures: bool = True) -> Report:
    """Check every row of ``source``, one at a time; write the good ones of a JSONL file to ``repaired``.

    A rejected answer that equals the chosen one is dropped in the copy where others remain; other faults drop the
    line. Raises EdgeError where the source cannot be read or the copy not be written.
    """
    if repaired is None:
        return _check(source, open_pictures, lambda _: None)
    if not is_lines(source):
        raise EdgeError(
            f"a copy of {source} could not hold its pictures", "leave --repaired out: only JSONL is repaired"
        )
    home, new_home = Path(source).parent, repaired.parent
    with whole_file(repaired) as copy:
        return _check(source, open_pictures, lambda kept: copy.write(moved(kept, home, new_home).to_json() + "\n"))


def _check(source: Path | str, open_pictures: bool, keep: Callable[[Triple], object]) -> Report:
    report = Report()
    pictures = _Pictures(open_pictures)
    for row in rows_of(source):
        report.lines += 1
        if row.sample is None:
            report.add(f"a line that {row.fault}", row.place)
            continue
        faults = list(_faults(row.sample, pictures))
        for fault in faults:
            report.add(fault, row.place)
        report.good += not faults
        if kept := _repair(row.sample.triple, faults):
            report.count(kept)
            keep(kept)
    return report


class _Pictures:
    """Faults of pictures; those of recent files are cached."""

    def __init__(self, open_pictures: bool) -> None:
        self.open_pictures = open_pictures
        self.of_file = lru_cache(FILES_REMEMBERED)(self._of_file)

    def fault(self, picture: Picture) -> str | None:
        if isinstance(picture, Path):
            return self.of_file(picture)
        return None if not self.open_pictures or _readable(picture) else "a picture that cannot be read"

    def _of_file(self, path: Path) -> str | None:
        if not os.path.isfile(path):
            return "a picture that is missing"
        return None if not self.open_pictures or _readable(path) else "a picture that cannot be read"


def _readable(picture: Picture) -> bool:
    try:
        open_image(picture)
    except EdgeError:
        return False
    return True


def _faults(sample: Sample, pictures: _Pictures) -> Iterator[str]:
    yield from (name for name, check in CHECKS.items() if check(sample.triple))
    yield from dict.fromkeys(fault for picture in sample.pictures if (fault := pictures.fault(picture)))


def _repair(triple: Triple, faults: list[str]) -> Triple | None:
    if not faults:
        return triple
    if any("equals" not in fault for fault in faults):
        return None
    others = tuple(answer for answer in triple.rejected if not same_answer(answer, triple.chosen))
    return replace(triple, rejected=others) if others else None

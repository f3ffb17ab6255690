"""Look a data file over before hours of training on it: every fault by line, and a copy without them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from phantom_edge.data.triples import Triple, numbered_lines, parse_line
from phantom_edge.errors import EdgeError
from phantom_edge.processing.images import open_image

SKEW = 1.5
"""Chosen answers longer than the rejected ones by this factor, or shorter, teach length instead of truth."""


@dataclass
class Report:
    """What a look found. ``faults`` counts lines by fault, ``examples`` holds the first line numbers of each."""

    lines: int = 0
    good: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    chosen_length: float = 0.0
    rejected_length: float = 0.0

    @property
    def length_skew(self) -> float:
        """Mean length of chosen over rejected answers, in letters (1 where there is nothing to compare)."""
        return self.chosen_length / self.rejected_length if self.rejected_length and self.chosen_length else 1.0

    @property
    def is_skewed(self) -> bool:
        """Whether the length alone tells the chosen answer."""
        return not 1 / SKEW <= self.length_skew <= SKEW

    def add(self, fault: str, line: int) -> None:
        """Count a fault."""
        self.faults[fault] += 1
        self.examples.setdefault(fault, [])
        if len(self.examples[fault]) < 5:
            self.examples[fault].append(line)


def _empty(triple: Triple) -> bool:
    return not triple.question.strip() or not triple.chosen.strip() or not all(r.strip() for r in triple.rejected)


def _same(triple: Triple) -> bool:
    chosen = triple.chosen.strip().casefold()
    return any(rejected.strip().casefold() == chosen for rejected in triple.rejected)


def _leaks(triple: Triple) -> bool:
    """Whether the question gives away an answer that is more than a word of a choice ("left or right")."""
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


def validate(path: Path, repaired: Path | None = None, look_at_pictures: bool = True) -> Report:
    """Check every line of ``path``; write the good ones to ``repaired``.

    A rejected answer that equals the chosen one is dropped in the copy where others remain; other faults drop the
    line. Raises EdgeError where the file cannot be read or the copy not be written.
    """
    report = Report()
    chosen: list[int] = []
    rejected: list[int] = []
    partial = repaired.with_name(f".{repaired.name}.partial") if repaired else None
    try:
        out = partial.open("w", encoding="utf-8") if partial else None
    except OSError as error:
        raise EdgeError(f"cannot write {repaired}: {error.strerror}", "choose another file") from error
    pictures = _Pictures(path.parent, look_at_pictures)
    try:
        for number, line in numbered_lines(path):
            report.lines += 1
            triple = None
            try:
                triple = parse_line(line)
            except ValueError as error:
                report.add(f"a line that {error}", number)
            faults = [] if triple is None else list(_faults(triple, pictures))
            for fault in faults:
                report.add(fault, number)
            kept = _repair(triple, faults) if triple else None
            report.good += triple is not None and not faults
            if kept is None:
                continue
            report.kinds[kept.kind or "-"] += 1
            if kept.rejected:
                chosen.append(len(kept.chosen))
                rejected.append(round(mean(map(len, kept.rejected))))
            if out:
                out.write(kept.to_json() + "\n")
    finally:
        if out:
            out.close()
    if partial and repaired:
        partial.replace(repaired)
    report.chosen_length = mean(chosen) if chosen else 0.0
    report.rejected_length = mean(rejected) if rejected else 0.0
    return report


@dataclass
class _Pictures:
    """Faults of pictures, each file looked at once."""

    folder: Path
    look: bool
    seen: dict[str, str | None] = field(default_factory=dict)

    def fault(self, name: str) -> str | None:
        if name not in self.seen:
            path = self.folder / name
            if not path.is_file():
                self.seen[name] = "a picture that is missing"
            else:
                self.seen[name] = None if not self.look or _readable(path) else "a picture that cannot be read"
        return self.seen[name]


def _readable(path: Path) -> bool:
    try:
        open_image(path)
    except EdgeError:
        return False
    return True


def _faults(triple: Triple, pictures: _Pictures) -> Iterator[str]:
    yield from (name for name, check in CHECKS.items() if check(triple))
    yield from dict.fromkeys(fault for name in triple.images if (fault := pictures.fault(name)))


def _repair(triple: Triple, faults: list[str]) -> Triple | None:
    if not faults:
        return triple
    if any("equals" not in fault for fault in faults):
        return None
    chosen = triple.chosen.strip().casefold()
    others = tuple(answer for answer in triple.rejected if answer.strip().casefold() != chosen)
    return Triple(triple.question, triple.chosen, others, triple.images, triple.kind) if others else None

"""Questions with known answers: read from a data file, narrowed to some kinds or some pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from phantom_edge.data.metrics import Rule, exact_match, letter_match, relaxed_match, yes_no_match
from phantom_edge.data.triples import read_triples
from phantom_edge.foundation.errors import EdgeError, UsageError

Picture = Path | bytes
"""A file, or an encoded picture as a benchmark's table holds it."""


@dataclass(frozen=True)
class Query:
    """A question about ``images``, which come first unless ``<image>`` marks in it place them."""

    question: str
    images: tuple[Picture, ...] = ()


RULES: dict[str, Rule] = {
    "exact": exact_match,
    "relaxed": relaxed_match,
    "yes or no": yes_no_match,
    "letter": letter_match,
}
"""Rules that judge an answer, by name."""


@dataclass(frozen=True)
class Example:
    """A question, its known answer, the ``kind`` it is counted under, and the one of RULES that judges it."""

    question: str
    gold: str
    images: tuple[Picture, ...] = ()
    kind: str = "-"
    rule: str = "exact"

    @property
    def query(self) -> Query:
        """The question with its pictures."""
        return Query(self.question, self.images)

    def is_right(self, answer: str) -> bool:
        """True where ``answer`` is right."""
        return RULES[self.rule](answer, self.gold)


@dataclass(frozen=True)
class Examples:
    """Questions with their pictures, and the number left out because a picture is missing."""

    found: list[Example]
    without_picture: int = 0


def read_examples(path: Path) -> Examples:
    """Read a data file's triples as examples. Raises EdgeError if it holds none, or none of its pictures exists."""
    if path.is_dir():
        raise EdgeError(f"{path} is a folder", f"give its JSONL file, such as {path / 'triples.jsonl'}")
    examples = [
        Example(triple.question, triple.chosen, tuple(path.parent / name for name in triple.images), triple.kind or "-")
        for triple in read_triples(path)
    ]
    return with_pictures(examples, path)


def with_pictures(examples: Sequence[Example], source: Path) -> Examples:
    """Returns the examples whose picture files exist. Raises EdgeError if there are none."""
    if not examples:
        raise EdgeError(f"{source} holds no question", "make some: phantom-edge data scenes -o scenes --split test")
    there: dict[Picture, bool] = {}
    for picture in (picture for example in examples for picture in example.images):
        if picture not in there:
            there[picture] = isinstance(picture, bytes) or picture.is_file()
    found = [example for example in examples if all(there[picture] for picture in example.images)]
    if not found:
        missing = next(picture for picture, is_there in there.items() if not is_there)
        raise EdgeError(
            f"every picture of {source} is missing, such as {missing!s:.200}",
            "put the pictures there; paths are relative to the data file's folder",
        )
    return Examples(found, len(examples) - len(found))


def choose(
    examples: Sequence[Example], kinds: Sequence[str] = (), limit: int | None = None, seed: int = 0
) -> list[Example]:
    """Returns examples of some ``kinds``, about enough pictures drawn by ``seed`` for at least ``limit`` questions.

    The order stays, and a picture keeps all its questions. Raises EdgeError for a kind that no example has.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit is {limit}", "give 1 or more")
    known = list(dict.fromkeys(example.kind for example in examples))
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise EdgeError(f"there is no kind {', '.join(unknown)}", f"choose from: {', '.join(known)}")
    chosen = [example for example in examples if not kinds or example.kind in kinds]
    if limit is None or limit >= len(chosen):
        return chosen
    groups: dict[object, list[int]] = {}
    for number, example in enumerate(chosen):
        groups.setdefault(example.images or number, []).append(number)  # without a picture each stands alone
    order = list(groups.values())
    Random(seed).shuffle(order)
    kept: list[int] = []
    for numbers in order:
        if len(kept) >= limit:
            break
        kept += numbers
    return [chosen[number] for number in sorted(kept)]

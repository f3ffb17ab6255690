"""``golden/golden.json``: questions about pictures and the checkpoint's own numbers, for a bundle's self-test.

A program that runs bundles asks the questions in their order, feeds the golden ids of each answer whatever it would
choose itself, and compares every stage: a difference shows where it begins.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.numbers import check_rules
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.typed import WrongJson, from_json

GOLDEN = "golden/golden.json"
"""File of golden numbers in a bundle; pictures lie beside it."""


@dataclass(frozen=True)
class Row:
    """Both ends of a row of numbers; a row may be too long to be kept whole."""

    row: int
    """Number of the row, from 0 on: a token id of the embedding table, or an image token of a picture."""
    first: tuple[float, ...]
    """The first numbers of the row."""
    last: tuple[float, ...]
    """The last numbers of the row; they overlap with ``first`` where the row is short."""


@dataclass(frozen=True)
class Picture:
    """A picture, its tiles, and some of its image tokens."""

    file: str
    """PNG inside the bundle: RGB, 8 bits a channel, opaque."""
    width: int
    """Width in pixels."""
    height: int
    """Height in pixels."""
    grid: tuple[int, ...]
    """Columns and rows of the grid, in tiles."""
    tiles: tuple[str, ...]
    """SHA-256, in hexadecimal, of each tile's bytes after resizing and before normalization: rows of pixels, of which
    each is three bytes, R, G, B. Tiles are in the order that ``pictures.order`` of ``phantom.json`` names."""
    image_tokens: tuple[Row, ...]
    """Image tokens of the first and the last tile, counted through all tiles of the picture."""
    column: tuple[float, ...]
    """The first number of every image token, in their order: it shows tokens in another order."""
    largest: float
    """Largest magnitude in all image tokens of the picture, a pure number."""

    def __post_init__(self) -> None:
        check_rules(
            size=self.width > 0 and self.height > 0,
            grid=len(self.grid) == 2 and min(self.grid) > 0,
            tiles=bool(self.tiles),
            largest=self.largest > 0,
        )


@dataclass(frozen=True)
class Step:
    """Logits after the prompt (step 0) or after a token of the answer, before any setting for generation."""

    ids: tuple[int, ...]
    """Token ids of the largest logits, the largest first."""
    values: tuple[float, ...]
    """Logits of ``ids``."""
    choice: int | None
    """Token id that every right program chooses here, greedily and with the settings of ``generation``; null where an
    error within the tolerance may change the choice."""

    def __post_init__(self) -> None:
        check_rules(values=len(self.ids) == len(self.values) > 0)


@dataclass(frozen=True)
class GoldenAnswer:
    """An answer, greedy, with the settings of ``generation``."""

    ids: tuple[int, ...]
    """Token ids, without the one that stops the answer."""
    pieces: tuple[str, ...]
    """Texts in which the answer is streamed: each is complete letters, none is empty."""
    text: str
    """The whole answer: the pieces joined."""
    stopped_by: Literal["end of turn", "length", "context"]
    """Reason of the end: a stop token, ``max_new_tokens``, or a full cache."""


@dataclass(frozen=True)
class GoldenQuestion:
    """A question of one user's turn, without a system message, and its answer."""

    name: str
    """Name of the case."""
    question: str
    """Text of the question. The pictures' marks come before it."""
    pictures: tuple[int, ...]
    """Positions of its pictures in ``pictures``, from 0 on."""
    prompt: str
    """The rendered chat template, in which each picture is still its mark."""
    ids: tuple[int, ...]
    """All token ids of the prompt, image tokens included."""
    reused: int
    """Number of these tokens that the cache holds already, from the question before."""
    max_new_tokens: int
    """Largest number of tokens of the answer."""
    steps: tuple[Step, ...]
    """Logits of every choice: one per token of the answer, and one for the stop token if that ended it."""
    largest: float
    """Largest magnitude of the logits of all steps, a pure number."""
    answer: GoldenAnswer
    """The answer."""

    def __post_init__(self) -> None:
        ends = self.answer.stopped_by == "end of turn"
        check_rules(
            reused=0 <= self.reused < len(self.ids),
            max_new_tokens=self.max_new_tokens > 0,
            steps=0 < len(self.steps) == len(self.answer.ids) + ends <= self.max_new_tokens,
            largest=self.largest > 0,
            pieces="".join(self.answer.pieces) == self.answer.text,
        )


@dataclass(frozen=True)
class Tolerances:
    """Largest differences, as shares of the largest magnitude. They are bounds for right programs, not errors."""

    embeddings: float
    """Bound for rows of embeddings, a share of the largest magnitude in the rows given."""
    image_tokens: float
    """Bound for image tokens, a share of ``pictures[].largest``."""
    logits: float
    """Bound for logits, a share of ``questions[].largest``."""

    def __post_init__(self) -> None:
        check_rules(
            embeddings=0 < self.embeddings < 1, image_tokens=0 < self.image_tokens < 1, logits=0 < self.logits < 1
        )


@dataclass(frozen=True)
class Golden:
    """Inputs, and the checkpoint's numbers for them, computed in float32. Questions are asked in their order."""

    format: Literal[1]
    """Version of this format, a whole number."""
    pictures: tuple[Picture, ...]
    """Pictures. One that no question shows is for the vision part alone."""
    embeddings: tuple[Row, ...]
    """Some rows of the embedding table."""
    questions: tuple[GoldenQuestion, ...]
    """Questions; the first begins with an empty cache."""
    tolerances: Tolerances
    """Largest differences from the numbers here."""
    left_out: tuple[str, ...]
    """Names of the cases that do not fit into the cache."""


def read_golden(bundle: Bundle) -> Golden:
    """The golden numbers of a bundle. Raises EdgeError where it has none, or they are damaged or contradict it."""
    name = bundle.manifest.golden
    if name is None:
        raise EdgeError(f"{bundle.path} has no golden files: it was made before bundles had them", AGAIN)
    path = bundle.file(name)
    try:
        golden = from_json(Golden, parse_json(path.read_text(encoding="utf-8")))
    except WrongJson as error:
        raise EdgeError(f"{path}: {error}", AGAIN) from error
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{path} cannot be read ({type(error).__name__})", AGAIN) from error
    for problem in _contradictions(bundle, golden):
        raise EdgeError(f"{path}: {problem}", AGAIN)
    return golden


def _contradictions(bundle: Bundle, golden: Golden) -> Iterator[str]:
    """Problems of golden numbers that do not fit the bundle's manifest."""
    manifest = bundle.manifest
    vocabulary, width = manifest.model.vocab_size, manifest.model.hidden_size
    tokens = {row.row for row in golden.embeddings}
    for number, picture in enumerate(golden.pictures):
        count = len(picture.tiles) * manifest.pictures.tokens_per_tile
        if picture.file not in manifest.files:
            yield f"pictures[{number}].file is {picture.file!r}, which is no file of the bundle"
        if len(picture.column) != count or any(not 0 <= row.row < count for row in picture.image_tokens):
            yield f"pictures[{number}] has rows that are not among its {count} image tokens"
    for number, question in enumerate(golden.questions):
        tokens |= set(question.ids) | set(question.answer.ids) | {id for step in question.steps for id in step.ids}
        if any(not 0 <= place < len(golden.pictures) for place in question.pictures):
            yield f"questions[{number}].pictures names a picture that is not there"
        if len(question.ids) >= manifest.cache.max_context:
            yield f"questions[{number}].ids has more tokens than the cache"
    wrong = [token for token in tokens if not 0 <= token < vocabulary]
    if wrong:
        yield f"a token id is {wrong[0]}, and the model has {vocabulary:,}"
    if any(not 0 < len(end) <= width for row in _rows(golden) for end in (row.first, row.last)):
        yield f"a row has no numbers, or more than {width}"


def _rows(golden: Golden) -> Iterable[Row]:
    return [*golden.embeddings, *(row for picture in golden.pictures for row in picture.image_tokens)]

"""Self-test of a bundle on the machine that runs it: its golden questions, asked in its own engine.

Every answer is fed the golden ids, so that a tie, which two right programs may break in two ways, ends no comparison;
the tokens that the session would have chosen are compared where the choice is clear.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path

import numpy as np

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.golden import Golden, GoldenQuestion, Picture, Row, read_golden
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.processing.images import open_image
from phantom_edge.processing.tiling import choose_grid, to_pixel_values
from phantom_edge.runtime.engine import Floats
from phantom_edge.runtime.session import Session
from phantom_edge.runtime.watched import Run, Seen, forget, watch

WHOLE = 0.05
"""Largest distance of a denormalized pixel from a whole number."""

SHOWN = 60
"""Letters of a text in a table."""


@dataclass(frozen=True)
class Finding:
    """One comparison of a self-test, in words."""

    name: str
    expected: str
    found: str
    passed: bool


@dataclass(frozen=True)
class SelfTest:
    """Result of a self-test; ``left_out`` are cases that do not fit into the bundle's cache."""

    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """True where nothing differs."""
        return all(one.passed for one in self.findings)

    def faults(self) -> list[Finding]:
        """The comparisons that failed."""
        return [one for one in self.findings if not one.passed]


def self_test(bundle: Bundle, session: Session, begin: Counting = no_progress) -> SelfTest:
    """Asks a bundle's golden questions and compares every stage; ``begin`` counts questions.

    Raises EdgeError where the golden files are absent or damaged.
    """
    golden = read_golden(bundle)
    pictures = [bundle.file(picture.file) for picture in golden.pictures]
    for path in pictures:
        _check_picture(path)
    step = begin(len(golden.questions))
    forget(session)
    runs: list[Run | EdgeError] = []
    for question in golden.questions:
        runs.append(_run(session, question, [pictures[place] for place in question.pictures]))
        step(1)
    return compare(golden, session, pictures, runs)


def compare(golden: Golden, session: Session, pictures: Sequence[Path], runs: Sequence[Run | EdgeError]) -> SelfTest:
    """Compares what was seen in a session with golden numbers; a question that raised has its error for a run."""
    findings = [_embeddings(golden, session)]
    seen = _seen(golden, session, pictures, runs)
    for number, (picture, path) in enumerate(zip(golden.pictures, pictures, strict=True)):
        bound = golden.tolerances.image_tokens
        findings += _picture(f"picture {number + 1}", picture, session, path, seen[number], bound)
    for question, run in zip(golden.questions, runs, strict=True):
        name = f"'{question.name}'"
        if isinstance(run, EdgeError):
            findings.append(Finding(f"{name}: answer", _short(question.answer.text), run.problem, False))
        else:
            findings += _question(name, question, run, golden.tolerances.logits, session.manifest.prompt.stop_tokens)
    return SelfTest(tuple(findings), golden.left_out)


def forced_ids(question: GoldenQuestion, stop_token: int) -> tuple[int, ...]:
    """All tokens of a golden answer, with one that stops it where it was stopped by one."""
    answer = question.answer
    return (*answer.ids, stop_token) if answer.stopped_by == "end of turn" else answer.ids


def _run(session: Session, question: GoldenQuestion, images: Sequence[Path]) -> Run | EdgeError:
    forced = forced_ids(question, session.manifest.prompt.stop_tokens[0])
    try:
        return watch(session, question.question, images, question.max_new_tokens, forced)
    except EdgeError as error:
        return error


def _check_picture(path: Path) -> None:
    """Raises EdgeError for a golden file that is no picture."""
    try:
        open_image(path)
    except EdgeError as error:
        raise EdgeError(error.problem, AGAIN) from error


def _seen(
    golden: Golden, session: Session, pictures: Sequence[Path], runs: Sequence[Run | EdgeError]
) -> dict[int, Seen]:
    """Every picture's tiles and image tokens: as they were when it was asked about first, else encoded now."""
    found: dict[int, Seen] = {}
    for question, run in zip(golden.questions, runs, strict=True):
        new = [place for place in dict.fromkeys(question.pictures) if place not in found]
        if not isinstance(run, EdgeError):
            found |= dict(zip(new, run.seen, strict=False))
    for place, path in enumerate(pictures):
        if place not in found:
            pixels = to_pixel_values(open_image(path), session.tiling)
            found[place] = Seen(pixels, session.engine.encode_images(pixels))
    return found


def digests(pixels: Floats, mean: Sequence[float], std: Sequence[float]) -> tuple[str, ...]:
    """SHA-256 of the bytes of each tile (T, 3, S, S), normalization undone; "" where they are no bytes."""
    found = []
    for tile in pixels.astype(np.float64):
        values = (tile.transpose(1, 2, 0) * std + mean) * 255  # (S, S, 3)
        whole = np.rint(values)
        is_whole = bool(np.abs(values - whole).max() <= WHOLE and whole.min() >= 0 and whole.max() <= 255)
        found.append(hashlib.sha256(whole.astype(np.uint8).tobytes()).hexdigest() if is_whole else "")
    return tuple(found)


def ends(rows: Floats, chosen: Sequence[int], width: int) -> tuple[Row, ...]:
    """Some rows, ``width`` numbers of both ends."""
    return tuple(Row(number, numbers(rows[number][:width]), numbers(rows[number][-width:])) for number in chosen)


def numbers(values: Floats) -> tuple[float, ...]:
    """Numbers as short as float32 allows."""
    return tuple(float(f"{float(value):.9g}") for value in values)


def _embeddings(golden: Golden, session: Session) -> Finding:
    """Rows of the embedding table."""
    rows = golden.embeddings
    found = session.engine.embed(np.array([row.row for row in rows], np.int64))
    largest = max(abs(value) for row in rows for value in (*row.first, *row.last))
    return _rows("embeddings", rows, list(found), largest, golden.tolerances.embeddings)


def _picture(name: str, picture: Picture, session: Session, path: Path, seen: Seen, bound: float) -> Iterator[Finding]:
    """Size, grid, tiles and image tokens of a picture."""
    size, pictures = open_image(path).size, session.manifest.pictures
    yield _same(f"{name}: pixels", (picture.width, picture.height), size)
    yield _same(f"{name}: grid", picture.grid, choose_grid(*size, session.tiling))
    found = digests(seen.pixels, pictures.mean, pictures.std)
    wrong = [number for number, pair in enumerate(zip(picture.tiles, found, strict=False)) if pair[0] != pair[1]]
    said = f"other pixels in tiles {', '.join(map(str, wrong))}" if wrong else "the same"
    if len(found) != len(picture.tiles):
        said = _count(len(found), "tile")
    yield Finding(f"{name}: tiles", _count(len(picture.tiles), "tile"), said, found == picture.tiles)
    nothing = np.zeros(0, np.float32)
    rows = [seen.tokens[row.row] if row.row < len(seen.tokens) else nothing for row in picture.image_tokens]
    yield _rows(f"{name}: image tokens", picture.image_tokens, rows, picture.largest, bound)
    error = _error(picture.column, seen.tokens[:, 0], picture.largest)
    yield Finding(f"{name}: order of image tokens", f"within {bound:.1e}", f"{error:.1e}", error <= bound)


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + "s" * (number != 1)


def _question(
    name: str, question: GoldenQuestion, run: Run, bound: float, stop_tokens: Sequence[int]
) -> Iterator[Finding]:
    """Prompt, tokens, reuse, logits, choices and text of a question."""
    yield _prompt(f"{name}: prompt", question.prompt, run.prompt)
    yield _ids(f"{name}: token ids", question.ids, tuple(run.ids.tolist()))
    yield _same(f"{name}: tokens reused", question.reused, run.answer.reused_tokens)
    yield _logits(f"{name}: logits", question, run, bound)
    yield _choices(f"{name}: choices", question, run, stop_tokens)
    yield _pieces(f"{name}: pieces", question.answer.pieces, tuple(run.pieces))
    yield _same(f"{name}: answer", question.answer.text, run.answer.text)
    yield _same(f"{name}: end", question.answer.stopped_by, run.answer.stopped_by)


def _logits(name: str, question: GoldenQuestion, run: Run, bound: float) -> Finding:
    """The logits of every step, at its golden ids."""
    steps = question.steps
    if len(run.logits) != len(steps):
        return Finding(name, f"{len(steps)} steps", f"{len(run.logits)} steps", False)
    errors = [
        _error(step.values, logits[list(step.ids)], question.largest)
        for step, logits in zip(steps, run.logits, strict=True)
    ]
    worst = int(np.argmax(errors))
    return Finding(name, f"within {bound:.1e}", f"{errors[worst]:.1e} in step {worst}", errors[worst] <= bound)


def _choices(name: str, question: GoldenQuestion, run: Run, stop_tokens: Sequence[int]) -> Finding:
    """The tokens that were chosen, where the choice is clear; and whether all are those of the golden answer."""

    def same(one: int, other: int) -> bool:
        return one == other or (one in stop_tokens and other in stop_tokens)

    clear = [step.choice for step in question.steps]
    wrong = [
        number
        for number, (wanted, chosen) in enumerate(zip(clear, run.choices, strict=False))
        if wanted is not None and not same(wanted, chosen)
    ]
    golden = forced_ids(question, stop_tokens[0])
    other = [number for number, pair in enumerate(zip(golden, run.choices, strict=False)) if not same(*pair)]
    said = f"the answer's {len(golden)} tokens"
    if other:
        said = f"another token in step {other[0]}" + ("" if wrong else ", a tie")
    if wrong:
        said = f"token {run.choices[wrong[0]]} in step {wrong[0]}, not {clear[wrong[0]]}"
    ties = sum(choice is None for choice in clear)
    return Finding(name, f"{len(clear)} tokens" + (f", {ties} of them ties" if ties else ""), said, not wrong)


def _rows(name: str, rows: Sequence[Row], found: Sequence[Floats], largest: float, bound: float) -> Finding:
    """Both ends of some rows."""
    errors = [
        max(
            _error(row.first, one[: len(row.first)], largest),
            _error(row.last, one[len(one) - len(row.last) :], largest),
        )
        for row, one in zip(rows, found, strict=True)
    ]
    worst = int(np.argmax(errors))
    return Finding(name, f"within {bound:.1e}", f"{errors[worst]:.1e} in row {rows[worst].row}", errors[worst] <= bound)


def _error(wanted: Sequence[float], found: Floats, largest: float) -> float:
    """The largest difference as a share of the largest magnitude; infinite where one is no number, or not there."""
    if len(wanted) != len(found):
        return inf
    error = float(np.abs(np.asarray(wanted, np.float64) - found).max()) / largest
    return error if isfinite(error) else inf


def _ids(name: str, wanted: tuple[int, ...], found: tuple[int, ...]) -> Finding:
    said = f"{len(found)} tokens"
    if wanted != found:
        place = next((at for at, pair in enumerate(zip(wanted, found, strict=False)) if pair[0] != pair[1]), None)
        said += "" if place is None else f", other ones from place {place} on"
    return Finding(name, f"{len(wanted)} tokens", said, wanted == found)


def _prompt(name: str, wanted: str, found: str) -> Finding:
    """A text that is too long to be shown: its length, and where another one begins."""
    said, place = "the same", _parting(wanted, found)
    if place is not None:
        said = f"{len(found):,} characters"
        said += f", other ones from place {place} on: {_short(found[place:])}" if place < len(found) else ""
    return Finding(name, f"{len(wanted):,} characters", said, place is None)


def _pieces(name: str, wanted: tuple[str, ...], found: tuple[str, ...]) -> Finding:
    """The pieces of text in which an answer came."""
    said, place = "the same", _parting(wanted, found)
    if place is not None:
        said = _count(len(found), "piece")
        said += f", other ones from place {place} on: {_short(found[place:])}" if place < len(found) else ""
    return Finding(name, _count(len(wanted), "piece"), said, place is None)


def _parting(wanted: Sequence[object], found: Sequence[object]) -> int | None:
    """The first place where two sequences differ; the shorter one's end differs, too."""
    if wanted == found:
        return None
    pairs = enumerate(zip(wanted, found, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(wanted), len(found)))


def _same(name: str, wanted: object, found: object) -> Finding:
    return Finding(name, _short(wanted), _short(found), wanted == found)


def _short(value: object) -> str:
    """A value for a table: a long text is cut in its middle, between words."""
    text = " | ".join(map(repr, value)) if isinstance(value, tuple) else str(value)
    text = text.replace("\n", "\\n")
    if len(text) <= SHOWN:
        return text
    head, tail = text[: SHOWN // 2], text[-SHOWN // 2 :]
    return f"{head.rpartition(' ')[0] or head} ... {tail.partition(' ')[2] or tail}"

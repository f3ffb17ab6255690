"""Golden files of a bundle: questions, and the checkpoint's own numbers for them.

Where the bundle is proved here, its own session answers, and the checkpoint reads that answer in one pass. Elsewhere
the checkpoint answers itself, in few tokens, because each costs a pass over all layers.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from PIL import Image

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.golden import (
    GOLDEN,
    Golden,
    GoldenAnswer,
    GoldenQuestion,
    Picture,
    Row,
    Step,
    Tolerances,
)
from phantom_edge.bundle.proof import RELATIVE
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.golden_pictures import one_tile, two_tiles
from phantom_edge.export.proof.reference_engine import ReferenceEngine, Replay, read_answers
from phantom_edge.export.proof.verify import trials_of
from phantom_edge.export.targets import target_of
from phantom_edge.export.targets.trials import ROUNDED, VISION, Bounds
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.foundation.typed import to_json
from phantom_edge.processing.tiling import choose_grid, to_pixel_values
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Floats
from phantom_edge.runtime.self_test import SelfTest, compare, digests, ends, numbers
from phantom_edge.runtime.session import Session
from phantom_edge.runtime.text import question_of
from phantom_edge.runtime.watched import Run, forget, watch

TOP = 8
"""Number of logits kept of a step."""

END = 32
"""Number of numbers kept of either end of a row."""

EMBEDDINGS = 32
"""Largest number of rows kept of the embedding table."""

COPIED, STORED = 1e-6, 4e-3
"""Tolerances of rows of embeddings: of float32, and of numbers or scales that were rounded to 16 bits."""


STOPPED = "end of turn"


@dataclass(frozen=True)
class Asked:
    """A question about pictures, by their places; most tokens of an answer by the bundle, and by its checkpoint."""

    name: str
    question: str
    pictures: tuple[int, ...]
    by_bundle: int = 16
    by_checkpoint: int = 2


@dataclass(frozen=True)
class Fitted:
    """A question that leaves room for ``most`` tokens in the cache."""

    name: str
    question: str
    pictures: tuple[int, ...]
    most: int


ASKED = (
    Asked("one picture", "What shape is the blue object?", (0,), by_checkpoint=4),
    Asked("the same picture again", "Describe the picture briefly.", (0,)),
    Asked("several tiles", "What shape is the green object?", (1,)),
)
"""The questions, in their order: the second reuses the first one's picture, the third has several tiles."""

WORDS = Asked("text alone", "Who are you?", (), by_checkpoint=4)
"""The question where no picture fits into the cache."""


def write_golden(
    bundle: Bundle, source: Source, folder: Path, begin: Counting = no_progress, *, by_bundle: bool
) -> SelfTest | None:
    """Writes golden files into ``folder``; ``begin`` counts pictures, questions and layers.

    ``bundle`` is whole but for these files. With ``by_bundle`` it answers the questions itself, and is compared with
    the files. Raises EdgeError where it cannot.
    """
    trial = trials_of(bundle, source, strict=False)[0]
    reference, manifest = trial.reference, bundle.manifest
    images = (one_tile(manifest.pictures.tile_size), two_tiles(manifest.pictures.tile_size))
    files = [folder / Path(GOLDEN).with_name(f"{number}.png") for number in range(1, len(images) + 1)]
    files[0].parent.mkdir()
    for image, file in zip(images, files, strict=True):
        image.save(file, "PNG", optimize=True)
    step = begin(len(images) + len(ASKED) + by_bundle * source.config.text.num_hidden_layers)

    checkpoint = ReferenceEngine(reference)
    session = Session(bundle, target_of(bundle).engine()(bundle, 0) if by_bundle else checkpoint)
    pixels = [to_pixel_values(image, session.tiling) for image in images]
    encoded = []
    for one in pixels:
        encoded.append(checkpoint.encode_images(one))
        step(1)
    reference.release_vision()
    asked, left_out = _fitting(session, [len(one) for one in pixels], by_bundle=by_bundle)
    runs = []
    for question in asked:
        runs.append(watch(session, question.question, [files[at] for at in question.pictures], question.most))
        step(1)
    logits = [run.logits for run in runs]
    if by_bundle:
        with_pictures = [(run, [encoded[at] for at in one.pictures]) for one, run in zip(asked, runs, strict=True)]
        logits = read_answers(reference, manifest.prompt.image_token, with_pictures, lambda: step(1))
    bounds = _tolerances(bundle, trial.bounds)
    golden = Golden(
        format=1,
        pictures=tuple(
            _picture(str(file.relative_to(folder)), image, tiles, rows, session)
            for file, image, tiles, rows in zip(files, images, pixels, encoded, strict=True)
        ),
        embeddings=_embeddings(bundle, reference, runs),
        questions=tuple(
            _question(one, run, found, Session(bundle, checkpoint), [files[at] for at in one.pictures], bounds.logits)
            for one, run, found in zip(asked, runs, logits, strict=True)
        ),
        tolerances=bounds,
        left_out=left_out,
    )
    text = json.dumps(to_json(golden), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    (folder / GOLDEN).write_text(text + "\n", encoding="utf-8")
    return compare(golden, session, files, runs) if by_bundle else None


def _fitting(session: Session, tiles: Sequence[int], *, by_bundle: bool) -> tuple[list[Fitted], tuple[str, ...]]:
    """The questions that leave room for an answer in the cache, and the names of the others."""
    manifest = session.manifest
    found: list[Fitted] = []
    left_out: list[str] = []
    for asked in (*ASKED, WORDS):
        if asked is WORDS and found:
            break
        messages = question_of(asked.question, len(asked.pictures))
        of_pictures = [tiles[at] for at in asked.pictures]
        ids = session.text.ids(messages, of_pictures, manifest.pictures.tokens_per_tile)
        room = manifest.cache.max_context - len(ids)
        if room > 0:
            most = min(asked.by_bundle if by_bundle else asked.by_checkpoint, room)
            found.append(Fitted(asked.name, asked.question, asked.pictures, most))
        else:
            left_out.append(asked.name)
    return found, tuple(left_out)


def _tolerances(bundle: Bundle, bounds: Bounds) -> Tolerances:
    """The bounds of a proof; those of rounded activations where a proof has none."""
    manifest = bundle.manifest
    is_copied = manifest.cache.dtype == "float32" and manifest.integers is None
    return Tolerances(
        embeddings=COPIED if is_copied else STORED,
        image_tokens=bounds.get(VISION, ROUNDED[RELATIVE]),
        logits=bounds.get(RELATIVE, ROUNDED[RELATIVE]),
    )


def _picture(name: str, image: Image.Image, pixels: Floats, tokens: Floats, session: Session) -> Picture:
    pictures = session.manifest.pictures
    per_tile = pictures.tokens_per_tile
    start = len(tokens) - per_tile
    rows = {0, per_tile // 2, per_tile - 1, start, start + per_tile // 2, len(tokens) - 1}
    return Picture(
        file=name,
        width=image.width,
        height=image.height,
        grid=choose_grid(*image.size, session.tiling),
        tiles=digests(pixels, pictures.mean, pictures.std),
        image_tokens=ends(tokens, sorted(rows), END),
        column=numbers(tokens[:, 0]),
        largest=float(np.abs(tokens).max()),
    )


def _embeddings(bundle: Bundle, reference: Reference, runs: Sequence[Run]) -> tuple[Row, ...]:
    """Rows of the table: its first and last one, the first token's, and those of words in the questions."""
    manifest = bundle.manifest
    ids = {0: None, manifest.model.vocab_size - 1: None, manifest.prompt.first_token: None}
    for run in runs:
        ids |= dict.fromkeys(run.ids.tolist())
    kept = sorted(list(ids)[:EMBEDDINGS])
    rows = reference.embed(torch.tensor(kept)).numpy()
    return tuple(replace(row, row=token) for token, row in zip(kept, ends(rows, range(len(kept)), END), strict=True))


def _question(
    asked: Fitted, run: Run, logits: Floats, session: Session, images: Sequence[Path], bound: float
) -> GoldenQuestion:
    """A question with the reference's logits (steps, vocab) of the answer that ``run`` gave."""
    largest = float(np.abs(logits).max())
    choices = _choices(asked, run, logits, session, images, bound * largest)
    order = np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]
    steps = tuple(
        Step(tuple(ids.tolist()), numbers(values[ids]), choice)
        for ids, values, choice in zip(order, logits, choices, strict=True)
    )
    answer = run.answer
    ids = answer.ids[:-1] if answer.stopped_by == STOPPED else answer.ids
    stopped_by = cast("Literal['end of turn', 'length', 'context']", answer.stopped_by)
    return GoldenQuestion(
        name=asked.name,
        question=asked.question,
        pictures=asked.pictures,
        prompt=run.prompt,
        ids=tuple(run.ids.tolist()),
        reused=answer.reused_tokens,
        max_new_tokens=asked.most,
        steps=steps,
        largest=largest,
        answer=GoldenAnswer(tuple(ids), run.pieces, answer.text, stopped_by),
    )


def _choices(
    asked: Fitted, run: Run, logits: Floats, session: Session, images: Sequence[Path], tolerance: float
) -> list[int | None]:
    """The token that a session chooses after each step's logits, None where an error may change it.

    The answer is replayed, so that all settings of generation count: once as it is, and once with every choice lowered
    by the tolerance. The choice that stays is clear.
    """

    def replayed(found: Floats) -> tuple[int, ...]:
        session.engine = Replay(session.manifest, found)
        forget(session)
        return watch(session, asked.question, images, asked.most, tuple(run.answer.ids)).choices

    first = replayed(logits)
    lowered = logits.copy()
    lowered[np.arange(len(first)), first] -= tolerance
    return [one if one == other else None for one, other in zip(first, replayed(lowered), strict=True)]

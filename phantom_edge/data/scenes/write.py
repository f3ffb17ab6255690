"""Draw many scenes into a folder: pictures, and their questions as triples."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from phantom_edge.data.parallel import over_processes, over_ray
from phantom_edge.data.scenes.exhibit import SIDE, SQUARE, Material, check_pixels, make_exhibit
from phantom_edge.data.triples import Triple
from phantom_edge.foundation.files import whole_folder

TRIPLES = "triples.jsonl"
PICTURES_PER_FOLDER = 1000
BATCH = 64
USUAL_AREA = 420_000
"""Mean area of a picture whose size is drawn, pixels."""


@dataclass(frozen=True)
class Wanted:
    """Settings of the exhibits: mixes in turn, pixels (drawn if None), greatest strength of a camera, unanswerable.

    ``unanswerable`` is the share of kinds that ask a question without an answer; None leaves it to the mix.
    """

    mixes: tuple[Material, ...] = ("plain",)
    pixels: tuple[int, int] | None = None
    camera: float | None = None
    unanswerable: float | None = None


NOTED = {field.name: field.default for field in fields(Wanted) if field.name != "pixels"}
"""Settings that ``scenes.json`` names where they are not as usual."""


def write_scenes(
    out: Path,
    pictures: int,
    *,
    split: str = "train",
    first_seed: int = 0,
    size: int | tuple[int, int] | None = None,
    mixes: tuple[Material, ...] = ("plain",),
    camera: float | None = None,
    unanswerable: float | None = None,
    workers: int = 2,
    ray: bool = False,
    force: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Write ``pictures`` exhibits of ``split`` to ``out``; returns the questions of each kind.

    They are drawn by ``workers`` processes, or with ``ray`` on a cluster that shares ``out``: the bytes are the same.
    ``mixes`` take turns. ``size`` is a side or a width and a height in pixels; without one, square pictures have 224,
    and others any. ``camera`` and ``unanswerable`` are those of :func:`make_exhibit`.

    The folder appears whole: ``triples.jsonl``, pictures in subfolders of a thousand, and ``scenes.json`` with the
    settings to repeat it. ``progress`` counts the exhibits drawn.
    """
    wanted = Wanted(mixes, (size, size) if isinstance(size, int) else size, camera, unanswerable)
    for mix in mixes:
        check_pixels(wanted.pixels, mix)
    seeds = range(first_seed, first_seed + pictures)
    kinds: Counter[str] = Counter()
    area = math.prod(wanted.pixels) if wanted.pixels else SIDE**2 if set(mixes) <= set(SQUARE) else USUAL_AREA
    # about 60 KB a picture of 224 pixels, by size; a wrong guess only changes when a full disk is noticed
    with whole_folder(out, force=force, bytes_needed=int(pictures * 60e3 * area / SIDE**2)) as folder:
        for number in range(0, pictures, PICTURES_PER_FOLDER):
            (folder / f"{number // PICTURES_PER_FOLDER:05d}").mkdir()
        batches = _batches(seeds)
        draw = partial(_draw_batch, folder=folder, split=split, first_seed=first_seed, wanted=wanted)
        with (folder / TRIPLES).open("w", encoding="utf-8") as file:
            drawn = (
                over_ray(draw, batches) if ray else over_processes(draw, batches, min(workers, -(-pictures // BATCH)))
            )
            for exhibits in drawn:
                for line, kind in (pair for lines in exhibits for pair in lines):
                    file.write(line + "\n")
                    kinds[kind] += 1
                progress(len(exhibits))
        about = {
            "split": split,
            "first_seed": first_seed,
            "pictures": pictures,
            "size": size or (SIDE if set(mixes) <= set(SQUARE) else None),
            **{name: value for name, value in asdict(wanted).items() if name in NOTED and value != NOTED[name]},
            "questions": dict(kinds),
        }
        (folder / "scenes.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return kinds


def _batches(seeds: range) -> Iterator[range]:
    for start in range(0, len(seeds), BATCH):
        yield seeds[start : start + BATCH]


def _draw_batch(
    seeds: range, *, folder: Path, split: str, first_seed: int, wanted: Wanted
) -> list[list[tuple[str, str]]]:
    """Draw and save some exhibits; returns for each the lines of its triples with their kinds."""
    done = []
    for seed in seeds:
        number = seed - first_seed
        mix = wanted.mixes[number % len(wanted.mixes)]
        exhibit = make_exhibit(seed, split, mix, pixels=wanted.pixels, camera=wanted.camera, share=wanted.unanswerable)
        stem = f"{number // PICTURES_PER_FOLDER:05d}/{seed:08d}"
        several = len(exhibit.pictures) > 1
        names = tuple(f"{stem}-{at + 1}.png" if several else f"{stem}.png" for at in range(len(exhibit.pictures)))
        for name, picture in zip(names, exhibit.pictures, strict=True):
            picture.save(folder / name, compress_level=1)
        triples = [Triple(q.text, q.answer, q.rejected, names, q.kind) for q in exhibit.questions]
        done.append([(triple.to_json(), triple.kind) for triple in triples])
    return done

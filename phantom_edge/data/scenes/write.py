"""Draw many scenes into a folder: pictures, and their questions as triples."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.data.triples import Triple
from phantom_edge.files import whole_folder

TRIPLES = "triples.jsonl"
PICTURES_PER_FOLDER = 1000
BATCH = 64


def write_scenes(
    out: Path,
    pictures: int,
    *,
    split: str = "train",
    first_seed: int = 0,
    size: int = 224,
    workers: int = 2,
    force: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Write ``pictures`` scenes of ``split`` to ``out``; returns the questions of each kind.

    The folder appears whole: ``triples.jsonl``, pictures in subfolders of a thousand, and ``scenes.json`` with what
    makes it again. ``progress`` is told the pictures drawn.
    """
    seeds = range(first_seed, first_seed + pictures)
    kinds: Counter[str] = Counter()
    # about 60 KB a picture of 224 pixels, by size; a wrong guess only changes when a full disk is noticed
    with whole_folder(out, force=force, bytes_needed=int(pictures * 60e3 * (size / 224) ** 2)) as folder:
        for number in range(0, pictures, PICTURES_PER_FOLDER):
            (folder / f"{number // PICTURES_PER_FOLDER:05d}").mkdir()
        batches = list(_batches(seeds))
        draw = partial(_draw_batch, folder=folder, split=split, first_seed=first_seed, size=size)
        with (folder / TRIPLES).open("w", encoding="utf-8") as file:
            for lines in _map(draw, batches, workers):
                for line, kind in lines:
                    file.write(line + "\n")
                    kinds[kind] += 1
                progress(len({json.loads(line)["image"] for line, _ in lines}))
        about = {"split": split, "first_seed": first_seed, "pictures": pictures, "size": size, "questions": dict(kinds)}
        (folder / "scenes.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return kinds


def _batches(seeds: range) -> Iterator[range]:
    for start in range(0, len(seeds), BATCH):
        yield seeds[start : start + BATCH]


def _map(
    draw: Callable[[range], list[tuple[str, str]]], batches: list[range], workers: int
) -> Iterator[list[tuple[str, str]]]:
    """The results in order, from several processes where that pays."""
    if workers < 2 or len(batches) < 2:
        yield from map(draw, batches)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, batches)


def _draw_batch(seeds: range, *, folder: Path, split: str, first_seed: int, size: int) -> list[tuple[str, str]]:
    """Draw and save some scenes; returns the lines of their triples with their kinds."""
    lines = []
    for seed in seeds:
        scene = make_scene(seed, split)
        number = seed - first_seed
        name = f"{number // PICTURES_PER_FOLDER:05d}/{seed:08d}.png"
        draw_scene(scene, size).save(folder / name, compress_level=1)
        for question in ask(scene):
            triple = Triple(question.text, question.answer, question.rejected, (name,), question.kind)
            lines.append((triple.to_json(), question.kind))
    return lines

"""Draw many scenes into a folder: pictures, and their questions as triples."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from phantom_edge.data.parallel import over_processes, over_ray
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.data.triples import Triple
from phantom_edge.foundation.files import whole_folder

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
    ray: bool = False,
    force: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Write ``pictures`` scenes of ``split`` to ``out``; returns the questions of each kind.

    They are drawn by ``workers`` processes, or with ``ray`` on a cluster that shares ``out``: the bytes are the same.

    The folder appears whole: ``triples.jsonl``, pictures in subfolders of a thousand, and ``scenes.json`` with the
    settings to repeat it. ``progress`` counts the pictures drawn.
    """
    seeds = range(first_seed, first_seed + pictures)
    kinds: Counter[str] = Counter()
    # about 60 KB a picture of 224 pixels, by size; a wrong guess only changes when a full disk is noticed
    with whole_folder(out, force=force, bytes_needed=int(pictures * 60e3 * (size / 224) ** 2)) as folder:
        for number in range(0, pictures, PICTURES_PER_FOLDER):
            (folder / f"{number // PICTURES_PER_FOLDER:05d}").mkdir()
        batches = _batches(seeds)
        draw = partial(_draw_batch, folder=folder, split=split, first_seed=first_seed, size=size)
        with (folder / TRIPLES).open("w", encoding="utf-8") as file:
            drawn = (
                over_ray(draw, batches) if ray else over_processes(draw, batches, min(workers, -(-pictures // BATCH)))
            )
            for lines in drawn:
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

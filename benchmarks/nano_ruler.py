"""A nano on pictures of any shape, through a camera, and where nobody can answer; and what its CLS token knows.

    python -m benchmarks.nano_ruler --scratch runs/nano-ruler --out benchmarks/results/nano-ruler.json
    python -m benchmarks.nano_ruler runs/nano/tiles/model --scratch runs/ruler-tiles          a stage of training

All pictures are of the test split. ``refused`` is the share of answerable questions that got "I can't tell".
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from torch import Tensor

from benchmarks.harness import Bench, begin, edge_says, machine
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes.exhibit import Exhibit, Material, make_exhibit
from phantom_edge.data.scenes.items import reach
from phantom_edge.data.scenes.unanswerable import KIND, UNKNOWN
from phantom_edge.data.scenes.write import TRIPLES, write_scenes
from phantom_edge.generate import load
from phantom_edge.models.hub import find_folder
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.tiling import Tiling, choose_grid
from phantom_edge.train.nano.gist import OBJECTS, gist_of

QUESTIONS = 5000
"""Least questions of a part, unless --questions says otherwise."""

LEAST = 4
"""Questions that every picture has on average, at least."""

FIRST_SEED = 1_000_000
"""Seed of the first test picture."""

PROBED: tuple[Material, ...] = ("plain", "wide", "fine")
"""Materials of which each kind of object is in some thumbnails and not in others."""

LEARNED, ASKED = 3000, 1000
"""Pictures that the probe of the CLS token learns from, of the train split, and is asked about, of the test split."""


@dataclass(frozen=True)
class Part:
    """Pictures with questions; ``thumbnail`` alone is what the model sees, if so."""

    name: str
    mixes: tuple[Material, ...]
    camera: float | None = None
    unanswerable: float = 0.0
    thumbnail: bool = False


PARTS = (
    Part("one tile", ("plain",)),
    Part("all tiles", ("wide", "fine")),
    Part("thumbnail alone", ("wide", "fine"), thumbnail=True),
    Part("camera", ("plain", "wide", "fine"), camera=1.0),
    Part("unanswerable", ("plain", "wide", "fine", "blank", "nothing"), unanswerable=1.0),
)


def one_tile_copy(model: Path, folder: Path) -> Path:
    """Returns a copy of a checkpoint that sees every picture as one tile, which is its thumbnail."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    file = folder / "processor_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["image_processor"]["max_tiles"] = 1
    file.write_text(json.dumps(settings), encoding="utf-8")
    assert PhantomProcessor.from_pretrained(folder).image_processor.max_tiles == 1
    return folder


def measure(part: Part, model: Path, scratch: Path, questions: int) -> dict[str, Any]:
    """Accuracy by kind and by number of tiles, and the share of answerable questions that were refused."""
    drawn = scratch / f"{'-'.join(part.mixes)}-{part.camera}-{part.unanswerable}"
    if not drawn.is_dir():
        write_scenes(
            drawn,
            questions // LEAST,
            split="test",
            first_seed=FIRST_SEED,
            mixes=part.mixes,
            camera=part.camera,
            unanswerable=part.unanswerable,
        )
    seen = one_tile_copy(model, scratch / "one-tile") if part.thumbnail else model
    out = scratch / f"eval of {part.name}"
    asked = ("--data", drawn / TRIPLES, "--limit", questions, "--dtype", "fp32", "--out", out, "--force")
    report = edge_says("eval", seen, *asked)
    lines = list(map(json.loads, (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()))
    refused = [line["answer"].strip() == UNKNOWN for line in lines if line["kind"] != KIND]
    return {
        "overall": report["overall"],
        "kinds": report["kinds"],
        "tiles": right_by_tiles(lines, PhantomProcessor.from_pretrained(seen).image_processor.tiling),
        "refused": float(np.mean(refused)),
    }


def right_by_tiles(answers: Iterable[dict[str, Any]], tiling: Tiling) -> list[dict[str, int]]:
    """Questions and right answers by number of tiles, thumbnail included; questions without a picture have none."""
    asked: Counter[int] = Counter()
    right: Counter[int] = Counter()
    for answer in answers:
        tiles = sum(tiles_of(path, tiling) for path in answer["image"] or ())
        asked[tiles] += 1
        right[tiles] += answer["right"]
    return [{"tiles": tiles, "questions": asked[tiles], "right": right[tiles]} for tiles in sorted(asked)]


def tiles_of(path: str, tiling: Tiling) -> int:
    """Returns the number of tiles that a picture is cut into, thumbnail included."""
    with Image.open(path) as picture:
        columns, rows = choose_grid(*picture.size, tiling)
    return columns * rows + (tiling.thumbnail and columns * rows > 1)


def looks(
    model: PhantomForConditionalGeneration, processor: PhantomProcessor, split: str, count: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], float, float]]:
    """Yields the CLS token (hidden,) and gist of pictures; share of its attention and of the patches on objects."""
    tower = model.model.vision_tower
    kept: dict[str, Tensor] = {}
    last: Any = tower.layers[-1].attn
    hooks = [
        tower.register_forward_hook(lambda _module, _inputs, found: kept.update(cls=found[:, 0])),
        last.qkv.register_forward_hook(lambda _module, _inputs, found: kept.update(qkv=found)),
    ]
    side = tower.config.patches_per_side
    for index in range(count):
        exhibit = make_exhibit(FIRST_SEED + index, split, PROBED[index % len(PROBED)])
        tiles = processor.image_processor(exhibit.pictures)["pixel_values"]
        tower(torch.as_tensor(tiles[-1:]))
        query, key, _ = kept["qkv"].view(1, side**2 + 1, 3, last.heads, -1).permute(2, 0, 3, 1, 4)
        scores = query[:, :, :1] @ key.transpose(-1, -2) / key.shape[-1] ** 0.5
        attention = scores.softmax(-1)[0, :, 0, 1:].mean(0)
        on = covered(exhibit, side)
        gist = gist_of(exhibit.scenes[0])[: len(OBJECTS)]
        share = float(attention[on].sum() / attention.sum())
        yield kept["cls"][0].numpy().copy(), gist.numpy(), share, float(on.float().mean())
    for hook in hooks:
        hook.remove()


def covered(exhibit: Exhibit, side: int) -> Tensor:
    """Returns the patches (side * side,) of a thumbnail whose middles lie on an object, bool."""
    (scene,) = exhibit.scenes
    rows = (torch.arange(side) + 0.5) / side * scene.height
    columns = (torch.arange(side) + 0.5) / side * scene.width
    on = torch.zeros(side, side, dtype=torch.bool)
    for item in scene.items:
        across, down = reach(item)
        on |= ((rows - item.place.y).abs() < down)[:, None] & ((columns - item.place.x).abs() < across)[None]
    return on.flatten()


@torch.no_grad()
def probe(folder: Path) -> dict[str, Any]:
    """Accuracy of a linear probe that reads kinds of object off the CLS token, and where that token looks."""
    model, processor = load(str(folder), torch.float32)
    learned = list(looks(model, processor, "train", LEARNED))
    asked = list(looks(model, processor, "test", ASKED))
    known, gist = (np.stack([one[place] for one in learned]) for place in (0, 1))
    cls, truth = (np.stack([one[place] for one in asked]) for place in (0, 1))
    middle, spread = known.mean(0), known.std(0) + 1e-6
    right = {}
    for number, name in enumerate(OBJECTS):
        reader = LogisticRegression(max_iter=2000).fit((known - middle) / spread, gist[:, number])
        right[name] = float((reader.predict((cls - middle) / spread) == truth[:, number]).mean())
    chance = {name: float(max(truth[:, n].mean(), 1 - truth[:, n].mean())) for n, name in enumerate(OBJECTS)}
    return {
        "pictures": len(asked),
        "right": right,
        "chance": chance,
        "attention_on_objects": float(np.mean([one[2] for one in asked])),
        "patches_on_objects": float(np.mean([one[3] for one in asked])),
    }


def main() -> None:
    """Measure every part, each once."""
    bench: Bench = begin("nano-ruler", __doc__, {"dest": "model", "nargs": "?", "default": "nano"}, questions=QUESTIONS)
    folder = find_folder(bench.asked.model)
    rows = []
    for part in PARTS:
        rows.append(
            {
                "name": part.name,
                **bench.once(part.name, partial(measure, part, folder, bench.scratch, bench.asked.questions)),
            }
        )
    known = bench.once("probe", partial(probe, folder))
    bench.write({"model": folder.name, "parts": rows, "probe": known, "machine": machine()})


if __name__ == "__main__":
    main()

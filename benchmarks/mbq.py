"""Does weighing errors by modality (MBQ) help beside scaling that counts all tokens alike (AWQ)?

    python benchmarks/mbq.py nano --scratch runs/mbq --out benchmarks/results/mbq.json
    python benchmarks/mbq.py 0.5b --pictures 3 --scratch runs/mbq --out benchmarks/results/mbq.json

The decoder of phantom-nano, or one of random weights, in three and in four bits. Calibrated on train scenes, measured
on validation scenes: how far hidden states after the last layer are off, picture tokens and answer tokens apart
(squares of the error over squares of the states), and the divergence of the answers. Rows already in ``--out`` stay.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from phantom_edge.checkpoint.quantized.algorithm_names import AlgorithmName
from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.random import write_random
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.models.shipped import NAME, NANO
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.calibration import KINDS, Calibration, Sample, embedded, read_samples
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.reference import Reference

QUESTIONS = 4
"""Of each picture."""

SCHEMES = ("int3-g32-asym", "int4-g32")
ALGORITHMS: tuple[AlgorithmName, ...] = ("rtn", "awq", "mbq")


def states(source: Source, samples: Sequence[Sample]) -> tuple[list[Tensor], list[Tensor]]:
    """Of each sample: hidden states (N, hidden) after the last layer, and log-probabilities of its answer's tokens."""
    reference = Reference(source)
    hidden = reference.hidden(embedded(reference, samples))
    thoughts = [
        reference.logits(rows[(sample.kinds == KINDS.index("answer")).nonzero()[:, 0] - 1]).log_softmax(-1)
        for sample, rows in zip(samples, hidden, strict=True)
    ]
    return hidden, thoughts


def off(found: Sequence[Tensor], exact: Sequence[Tensor], samples: Sequence[Sample], kind: str) -> float:
    """Squares of the error over squares of the states, of tokens of one kind."""
    pairs = [
        ((ours - theirs)[sample.kinds == KINDS.index(kind)], theirs[sample.kinds == KINDS.index(kind)])
        for ours, theirs, sample in zip(found, exact, samples, strict=True)
    ]
    return float(sum(error.square().sum() for error, _ in pairs) / sum(rows.square().sum() for _, rows in pairs))


def questions(scratch: Path, split: str, pictures: int) -> Path:
    """A file of triples: some questions of each picture, drawn if they are not there."""
    folder = scratch / f"{split}-{pictures}"
    if not folder.is_dir():
        write_scenes(folder, pictures, split=split, first_seed=20_000_000 if split == "train" else 0)
    groups: dict[str, list[str]] = {}
    for line in (folder / "triples.jsonl").read_text(encoding="utf-8").splitlines():
        groups.setdefault(json.loads(line)["image"], []).append(line)
    chosen = [line for group in groups.values() for line in Random(0).sample(group, min(QUESTIONS, len(group)))]
    (folder / "some.jsonl").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return folder / "some.jsonl"


def main() -> None:
    """Measure what is missing, and write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[NAME, *SIZES])
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    data = {split: questions(options.scratch, split, options.pictures) for split in ("train", "validation")}
    model = NANO if options.model == NAME else options.scratch / options.model
    if not model.is_dir():
        write_random(SIZES[options.model], model, seed=0, dtype=torch.float32, eta=1e-4)
    source = Source.open(model)
    count = QUESTIONS * options.pictures
    samples = read_samples(data["validation"], source, count, with_pictures=True)
    exact, thoughts = states(source, samples)
    calibration = Calibration(data["train"], count)
    document: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    rows = document.setdefault(options.model, {})
    for scheme in SCHEMES:
        for algorithm in ALGORITHMS:
            name = f"{scheme} {algorithm}"
            if rows.get(name, {}).get("pictures") == options.pictures:
                continue
            start, place = time.perf_counter(), options.scratch / f"{options.model}-{scheme}-{algorithm}"
            recipe = Recipe({"decoder": scheme}, algorithm)
            quantize_checkpoint(model, recipe, place, name=name, calibration=calibration, force=True)
            seconds = time.perf_counter() - start
            found, ours = states(Source.open(place), samples)
            apart = [(e.exp() * (e - o)).sum(-1) for e, o in zip(thoughts, ours, strict=True)]
            rows[name] = {
                "vision": off(found, exact, samples, "vision"),
                "answer": off(found, exact, samples, "answer"),
                "divergence_nats": float(torch.cat(apart).mean()),
                "pictures": options.pictures,
                "seconds": round(seconds),
            }
            options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    show(document)


def show(document: dict[str, Any]) -> None:
    """A table."""
    table = Table("model", "weights", "error of picture tokens", "of answer tokens", "divergence, nats")
    for model, rows in document.items():
        for name, row in rows.items():
            table.add_row(model, name, f"{row['vision']:.3%}", f"{row['answer']:.3%}", f"{row['divergence_nats']:.2e}")
    Console().print(table)


if __name__ == "__main__":
    main()

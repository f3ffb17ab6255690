"""Does weighing errors by modality (MBQ) help beside scaling that counts all tokens alike (AWQ)?

    python -m benchmarks.mbq nano --out benchmarks/results/mbq.json
    python -m benchmarks.mbq 0.5b --pictures 3 --out benchmarks/results/mbq.json

The decoder of phantom-nano, or one of random weights, in three and in four bits. Calibrated on train scenes, measured
on validation scenes: how far hidden states after the last layer are off, picture tokens and answer tokens apart
(squares of the error over squares of the states), and the divergence of the answers. Rows already in ``--out`` stay.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from torch import Tensor

from benchmarks.harness import begin
from benchmarks.materials import checkpoint, scenes
from phantom_edge.checkpoint.quantized.algorithm_names import AlgorithmName
from phantom_edge.checkpoint.source import Source
from phantom_edge.models.shipped import NAME
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.calibration import KINDS, Calibration, Sample, embedded, read_samples
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.reference import Reference

QUESTIONS = 4
"""Number of questions of each picture."""

SCHEMES = ("int3-g32-asym", "int4-g32")
ALGORITHMS: tuple[AlgorithmName, ...] = ("rtn", "awq", "mbq")


def states(source: Source, samples: Sequence[Sample]) -> tuple[list[Tensor], list[Tensor]]:
    """Hidden states (N, hidden) after the last layer, and log-probabilities of the answer's tokens, by sample."""
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
    drawn = scenes(scratch / f"{split}-{pictures}", pictures, split, 20_000_000 if split == "train" else 0)
    groups: dict[str, list[str]] = {}
    for line in drawn.read_text(encoding="utf-8").splitlines():
        groups.setdefault(json.loads(line)["image"], []).append(line)
    chosen = [line for group in groups.values() for line in Random(0).sample(group, min(QUESTIONS, len(group)))]
    some = drawn.with_name("some.jsonl")
    some.write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return some


def main() -> None:
    """Measure what is missing, and write all."""
    bench = begin("mbq", __doc__, {"dest": "model", "choices": [NAME, *SIZES]}, pictures=32)
    asked = bench.asked
    data = {split: questions(bench.scratch, split, asked.pictures) for split in ("train", "validation")}
    model = checkpoint(asked.model, bench.scratch / asked.model, torch.float32)
    source, count = Source.open(model), QUESTIONS * asked.pictures
    samples = read_samples(data["validation"], source, count, with_pictures=True)
    exact, thoughts = states(source, samples)
    calibration, document = Calibration(data["train"], count), bench.before()
    rows = document.setdefault(asked.model, {})
    for scheme, algorithm in ((scheme, algorithm) for scheme in SCHEMES for algorithm in ALGORITHMS):
        name = f"{scheme} {algorithm}"
        if rows.get(name, {}).get("pictures") == asked.pictures:
            continue
        start, place = time.perf_counter(), bench.scratch / f"{asked.model}-{scheme}-{algorithm}"
        recipe = Recipe({"decoder": scheme}, algorithm)
        quantize_checkpoint(model, recipe, place, name=name, calibration=calibration, force=True)
        seconds = time.perf_counter() - start
        found, ours = states(Source.open(place), samples)
        apart = [(e.exp() * (e - o)).sum(-1) for e, o in zip(thoughts, ours, strict=True)]
        rows[name] = {
            "vision": off(found, exact, samples, "vision"),
            "answer": off(found, exact, samples, "answer"),
            "divergence_nats": float(torch.cat(apart).mean()),
            "pictures": asked.pictures,
            "seconds": round(seconds),
        }
        bench.write(document, show=False)
    bench.write(document)


if __name__ == "__main__":
    main()

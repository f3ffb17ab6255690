"""Bundles for Qualcomm's processor in its simulator: the same questions, beside ONNX Runtime and the checkpoint itself.

    python -m benchmarks.qnn --out benchmarks/results/qnn.json

Phantom-nano, test scenes. Each row is a bundle of one recipe and one chip: how many of its answers are right, beside
those of the same integers in ONNX Runtime; and at every token that it said, whether the quantized checkpoint in torch
would have said the same. Calibrated on train scenes. Answers that are on disk are not asked for again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from benchmarks.harness import begin, file_name, listed, machine
from benchmarks.materials import quantized, scenes
from benchmarks.quality import chosen, points_lost
from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.examples import Example, read_examples
from phantom_edge.evaluate.scores import judge
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import session_of
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.export.targets.qnn.options import QnnOptions
from phantom_edge.export.targets.target import Settings
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.calibration import KINDS, Calibration, Sample, embedded, sample_of
from phantom_edge.reference import Reference
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer

PICTURES, CALIBRATED, CONTEXT, TOKENS = 80, 16, 256, 64


@dataclass(frozen=True)
class Row:
    """A recipe and a chip; ``pictures`` None asks about all."""

    weights: str
    soc: str
    pictures: int | None = None

    @property
    def name(self) -> str:
        """Such as int8, sm8650."""
        return f"{self.weights}, {self.soc}"


ROWS = (Row("int8", "sm8650"), Row("int8", "sm8750", 20), Row("int4", "sm8650", 20))


def bundle_of(weights: str, soc: str, scratch: Path, calibration: Calibration) -> Bundle:
    """The bundle, made unless it is there; of ONNX Runtime where ``soc`` is empty."""
    place = scratch / file_name(f"{weights} {soc or 'onnx'}")
    if not place.is_dir():
        target, settings = "onnx", Settings(max_context=CONTEXT)
        if soc:
            target, own = "qnn", QnnOptions(soc)
            settings = Settings(TARGETS["qnn"].precision, max_context=CONTEXT, options=own, calibration=calibration)
        model = quantized(NANO, weights, scratch / f"{weights}.quantized")
        export_bundle(str(model), target, place, settings, prove=False)  # phantom-edge verify proves the same
    return Bundle.open(place)


def answers(bundle: Bundle, asked: Sequence[Example], known: Path, name: str) -> list[dict[str, Any]]:
    """Text and tokens of every answer; those in ``known`` are read, and others added to it as they come."""
    found = [json.loads(line) for line in known.read_text().splitlines()] if known.is_file() else []
    session = session_of(bundle, 1)
    with Progress(console=Console(stderr=True)) as bars, known.open("a", encoding="utf-8") as file:
        task = bars.add_task(name, total=len(asked), completed=len(found))
        for example in asked[len(found) :]:
            answer = Answer()
            for _ in session.ask(example.question, example.images, Sampling(TOKENS), answer):
                pass
            found.append({"text": answer.text, "ids": answer.ids})
            file.write(json.dumps(found[-1]) + "\n")
            file.flush()
            bars.advance(task)
    return found


def same_tokens(source: Source, asked: Sequence[Example], said: Sequence[dict[str, Any]]) -> Iterator[bool]:
    """At every token that was said: whether the quantized checkpoint in torch, having read the same, says it, too."""
    reference, samples = Reference(source), []
    for example, answer in zip(asked, said, strict=True):
        right = sample_of(example, source)
        prompt = right.kinds != KINDS.index("answer")
        ids = torch.cat([right.ids[prompt], torch.tensor(answer["ids"])])
        kinds = torch.cat([right.kinds[prompt], torch.full((len(answer["ids"]),), KINDS.index("answer"))])
        samples.append(Sample(ids, right.pixels, kinds))
    for sample, state in zip(samples, reference.hidden(embedded(reference, samples)), strict=True):
        places = np.flatnonzero(sample.kinds.numpy() == KINDS.index("answer"))
        likeliest = reference.logits(state[places - 1]).argmax(-1)
        yield from (likeliest == sample.ids[places]).tolist()


def measure(row: Row, everything: Sequence[Example], scratch: Path, calibration: Calibration) -> dict[str, Any]:
    """The figures of a row."""
    images = list(dict.fromkeys(example.images for example in everything))[: row.pictures]
    asked = sorted((one for one in everything if one.images in images), key=lambda one: images.index(one.images))
    bundle = bundle_of(row.weights, row.soc, scratch, calibration)
    source = Source.open(scratch / f"{row.weights}.quantized")
    said = answers(bundle, asked, scratch / f"{file_name(row.name)}.answers.jsonl", row.name)
    other = bundle_of(row.weights, "", scratch, calibration)
    base_said = answers(other, asked, scratch / f"{file_name(row.name)}.onnx.answers.jsonl", "ONNX Runtime")
    right, base = (np.array(judge(asked, [one["text"] for one in found]), np.float64) for found in (said, base_said))
    same = list(same_tokens(source, asked, said))
    placed = [part.delegation for part in bundle.manifest.parts.values() if part.delegation is not None]
    return {
        "questions": len(asked),
        "right": 100 * right.mean(),
        "right_in_onnx_runtime": 100 * base.mean(),
        **points_lost(asked, right, base),
        "steps": len(same),
        "same_token": float(np.mean(same)),
        "operators": sum(one.delegated for one in placed),
        "megabytes_on_a_device": round(listed(bundle.path, "source/"), 2),
        "qnn": bundle.facts(HexagonFacts).sdk,
    }


def main() -> None:
    """Measure what is missing, and write all."""
    bench = begin("qnn", __doc__, pictures=PICTURES)
    torch.set_num_threads(1)
    asked = chosen(read_examples(scenes(bench.scratch / "scenes", bench.asked.pictures, "test")).found)
    calibration = Calibration(scenes(bench.scratch / "calib", CALIBRATED, "train", 10_000_000))
    rows = {
        row.name: bench.once(row.name, lambda row=row: measure(row, asked, bench.scratch, calibration))  # type: ignore[misc]
        for row in ROWS
    }
    bench.write({"model": "phantom-nano", "rows": rows, "machine": machine("Qualcomm's simulator")})


if __name__ == "__main__":
    main()

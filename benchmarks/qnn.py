"""Bundles for Qualcomm's processor in its simulator: the same questions, beside ONNX Runtime and the checkpoint itself.

    python benchmarks/qnn.py runs/qnn --out benchmarks/results/qnn.json

Phantom-nano, test scenes. Each row is a bundle of one recipe and one chip: how many of its answers are right, beside
those of the same integers in ONNX Runtime; and at every token of the right answers, whether the likeliest token is that
of the quantized checkpoint in torch. Calibrated on train scenes. Rows that are on disk are not measured again.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from quality import apart, chosen, file_name, thoughts
from rich.console import Console
from rich.progress import Progress

from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
from phantom_edge.evaluate.examples import Example, read_examples
from phantom_edge.evaluate.intervals import bootstrap
from phantom_edge.evaluate.scores import judge
from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.export.export import export_bundle
from phantom_edge.export.reference import Reference
from phantom_edge.export.settings import Settings
from phantom_edge.export.source import Source
from phantom_edge.files import whole_file
from phantom_edge.quantize.calibration import KINDS, Calibration, embedded, sample_of
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.session import Session
from phantom_edge.shipped import NANO

PICTURES, CALIBRATED, CONTEXT = 80, 16, 256


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


def checkpoint(weights: str, scratch: Path) -> Path:
    """The quantized checkpoint, made unless it is there."""
    place = scratch / f"{weights}.quantized"
    if not place.is_dir():
        quantize_checkpoint(NANO, read_recipe(weights), place, name=weights)
    return place


def bundle_of(weights: str, soc: str, scratch: Path, calibration: Calibration) -> Bundle:
    """The bundle, made unless it is there; of ONNX Runtime where ``soc`` is empty."""
    place = scratch / file_name(f"{weights} {soc or 'onnx'}")
    if not place.is_dir():
        model = str(checkpoint(weights, scratch))
        if soc:
            settings = Settings("fp16", max_context=CONTEXT, soc=soc, calibration=calibration)
            export_bundle(model, "qnn", place, settings, prove=False)  # phantom-edge verify proves the same
        else:
            export_bundle(model, "onnx", place, Settings(max_context=CONTEXT), prove=False)
    return Bundle.open(place)


def asked_of(session: Session, asked: Sequence[Example], name: str) -> NDArray[np.float64]:
    """Which answers are right."""
    with Progress(console=Console(stderr=True)) as bars:
        task = bars.add_task(name, total=len(asked))
        answers = BundleAnswerer(session).answer([one.query for one in asked], lambda n: bars.advance(task, n))
    return np.array(judge(asked, answers), np.float64)


def wanted(source: Source, asked: Sequence[Example]) -> list[NDArray[np.float32]]:
    """Logits of the quantized checkpoint in torch, at every token of every right answer."""
    reference = Reference(source)
    samples = [sample_of(example, source) for example in asked]
    found = []
    for sample, state in zip(samples, reference.hidden(embedded(reference, samples)), strict=True):
        answer = np.flatnonzero(sample.kinds.numpy() == KINDS.index("answer")) - 1
        found.append(reference.logits(state[answer]).numpy())
    return found


def measure(row: Row, everything: Sequence[Example], scratch: Path, calibration: Calibration) -> dict[str, Any]:
    """What there is to tell of a row."""
    images = list(dict.fromkeys(example.images for example in everything))[: row.pictures]
    asked = [example for example in everything if example.images in images]
    bundle = bundle_of(row.weights, row.soc, scratch, calibration)
    session = Session(bundle)
    source = Source.open(checkpoint(row.weights, scratch))
    right = asked_of(session, asked, row.name)
    base = asked_of(Session(bundle_of(row.weights, "", scratch, calibration), 1), asked, "ONNX Runtime")
    ours, theirs = list(thoughts(session, asked, source)), wanted(source, asked)
    sums = np.array([apart(mine, other) for mine, other in zip(ours, theirs, strict=True)])
    steps = sum(map(len, ours))
    pictures = np.array([images.index(example.images) for example in asked])
    lost = np.stack([np.bincount(pictures, 100 * (base - right)), np.bincount(pictures).astype(np.float64)], axis=1)
    chip, parts = bundle.manifest.chip, bundle.manifest.parts
    assert chip is not None
    placed = {name: part.delegation for name, part in parts.items() if part.delegation is not None}
    return {
        "questions": len(asked),
        "right": 100 * right.mean(),
        "right_in_onnx_runtime": 100 * base.mean(),
        "points_lost": float(lost[:, 0].sum() / lost[:, 1].sum()),
        "points_lost_interval": list(asdict(bootstrap(lost, lambda t: t[:, 0] / t[:, 1])).values()),
        "steps": steps,
        "same_token": float(1 - sums[:, 1].sum() / steps),
        "divergence_nats": float(sums[:, 0].sum() / steps),
        "operators": sum(one.delegated for one in placed.values()),
        "operators_on_the_processor": sum(one.delegated * one.share for one in placed.values()),
        "megabytes_on_a_device": round(
            sum(file.bytes for name, file in bundle.manifest.files.items() if not name.startswith("source/")) / 1e6, 2
        ),
        "qnn": chip.sdk,
    }


def main() -> None:
    """Measure what is missing, and write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes, calib = options.scratch / "scenes", options.scratch / "calib"
    for folder, split, count in ((scenes, "test", options.pictures), (calib, "train", CALIBRATED)):
        if not folder.is_dir():
            write_scenes(folder, count, split=split, first_seed=10_000_000 if split == "train" else 0, size=224)
    asked = chosen(read_examples(scenes / "triples.jsonl").found)
    rows: dict[str, Any] = {}
    for row in ROWS:
        known = options.scratch / f"{file_name(row.name)}.json"
        if not known.is_file():
            found = measure(row, asked, options.scratch, Calibration(calib / "triples.jsonl"))
            with whole_file(known) as file:
                json.dump(found, file)
        rows[row.name] = json.loads(known.read_text(encoding="utf-8"))
        print(row.name, rows[row.name], file=sys.stderr)
    document = {
        "model": "phantom-nano",
        "rows": rows,
        "machine": f"{platform.machine()}, Qualcomm's simulator",
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

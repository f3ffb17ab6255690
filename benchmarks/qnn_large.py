"""The 0.5b shape for Qualcomm's processor: random weights, quantized, compiled for one chip, and run in its simulator.

    python -m benchmarks.qnn_large --out benchmarks/results/qnn-large.json

A chunk of a prompt with a picture, then tokens one by one, beside the quantized checkpoint in torch; and how near every
layer of tower and decoder comes. Takes hours: the simulator computes what the processor would, bit by bit.
"""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import begin, machine
from benchmarks.materials import checkpoint, quantized, scenes
from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.qnn.engine import QnnEngine
from phantom_edge.export.targets.qnn.layers import decibels, measure_layers
from phantom_edge.export.targets.qnn.options import QnnOptions
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.typed import to_json
from phantom_edge.quantize.calibration import Calibration, embedded, read_samples
from phantom_edge.reference import Reference

SIZE, SOC, CONTEXT, CHUNK, STEPS, SAMPLES = "0.5b", "sm8650", 512, 64, 20, 6


def exported(weights: str, scratch: Path) -> dict[str, Any]:
    """The bundle, and what making it took."""
    integers = quantized(checkpoint(SIZE, scratch / SIZE), weights, scratch / f"{weights}.quantized")
    triples = scenes(scratch / "calib", 4, "train", 10_000_000, size=448)
    settings = Settings(
        "fp16",
        max_context=CONTEXT,
        prefill_chunk=CHUNK,
        max_tiles=1,
        options=QnnOptions(SOC),
        calibration=Calibration(triples, SAMPLES),
    )
    found = export_bundle(str(integers), "qnn", scratch / f"{weights}-{SOC}", settings, prove=False, force=True)
    parts = found.bundle.manifest.parts
    files = found.bundle.manifest.files
    placed = {name: one.delegation for name, one in parts.items() if one.delegation is not None}
    return {
        "seconds": found.seconds,
        "megabytes": {name: round(files[one.weights[0]].bytes / 1e6) for name, one in parts.items()},
        "operators": {name: one.delegated for name, one in placed.items()},
        "export_peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
        "compiler_peak_megabytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1000,
    }


class Beside:
    """The bundle and its checkpoint, and a prompt."""

    def __init__(self, weights: str, scratch: Path) -> None:
        self.bundle = Bundle.open(scratch / f"{weights}-{SOC}")
        self.source = Source.open(scratch / f"{weights}.quantized")
        self.reference = Reference(self.source)
        (sample, *_) = read_samples(scratch / "calib" / "triples.jsonl", self.source, SAMPLES, with_pictures=True)[-1:]
        assert sample.pixels is not None
        self.tile = sample.pixels[:1].numpy()
        (rows,) = embedded(self.reference, [sample])
        self.rows = rows[: CHUNK + STEPS]

    def steps(self) -> dict[str, Any]:
        """A chunk, and tokens behind it."""
        (hidden,) = self.reference.hidden([self.rows])
        wanted = self.reference.logits(hidden).numpy()
        engine, embeds = QnnEngine(self.bundle), self.rows.numpy()
        start = time.perf_counter()
        found = [engine.forward(embeds[:CHUNK], 0, np.array([CHUNK - 1]))]
        first = time.perf_counter() - start
        for place in range(CHUNK, CHUNK + STEPS):
            found.append(engine.forward(embeds[place : place + 1], place, np.array([0])))
            print(f"step {place - CHUNK + 1}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        ours, theirs = np.concatenate(found), wanted[CHUNK - 1 :]
        return {
            "decibels_prefill": decibels(ours[:1], theirs[:1]),
            "decibels_steps": decibels(ours[1:], theirs[1:]),
            "steps": STEPS,
            "same_token": int((ours[1:].argmax(-1) == theirs[1:].argmax(-1)).sum()),
            "seconds_prefill": round(first, 1),
            "seconds_a_step": round((time.perf_counter() - start - first) / STEPS, 1),
            "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000,
        }

    def layers(self) -> dict[str, Any]:
        """All layers of tower and decoder, the worst first."""
        measured = measure_layers(self.bundle, self.reference, self.tile, self.rows[:CHUNK].numpy())
        return {"layers": to_json(measured)}


def main() -> None:
    """Measure what is missing, and write all."""
    bench = begin("qnn-large", __doc__, weights=["int4", "int8"])
    torch.set_num_threads(1)
    stages: dict[str, Callable[[str, Path], dict[str, Any]]] = {
        "export": exported,
        "steps": lambda weights, scratch: Beside(weights, scratch).steps(),
        "layers": lambda weights, scratch: Beside(weights, scratch).layers(),
    }
    rows = {
        weights: {
            stage: bench.once(f"{weights}-{stage}", partial(measure, weights, bench.scratch))
            for stage, measure in stages.items()
        }
        for weights in bench.asked.weights
    }
    about = {"size": SIZE, "soc": SOC, "context": CONTEXT, "chunk": CHUNK}
    bench.write({**about, "rows": rows, "machine": machine("Qualcomm's simulator")})


if __name__ == "__main__":
    main()

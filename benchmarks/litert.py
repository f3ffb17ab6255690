"""Phantom-nano for LiteRT, asked what its ONNX bundles are asked: by our sessions, and by LiteRT-LM's own engine.

    python -m benchmarks.litert --out benchmarks/results/litert.json

Test scenes, ten questions of each picture. LiteRT-LM loads the container of the very bundle that the session runs, and
gets the tiles that an app would cut.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import begin, file_name, listed, machine
from benchmarks.litert_lm import tiles_of
from benchmarks.materials import quantized, scenes
from benchmarks.quality import chosen, points_lost
from phantom_edge.bundle.folder import Bundle
from phantom_edge.data.examples import Example, read_examples
from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
from phantom_edge.evaluate.scores import judge
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import session_of
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.litert.container import CONTAINER
from phantom_edge.export.targets.target import PRECISIONS, Settings
from phantom_edge.models.shipped import NANO

PICTURES, CONTEXT, MOST = 36, 640, 64
WEIGHTS, OWN, OTHER = ("fp32", "int8", "int4"), "litert", "onnx"
Found = dict[str, Any]


def bundle_of(weights: str, target: str, scratch: Path) -> Path:
    """The bundle, made unless it is there."""
    bundle, model = scratch / file_name(f"{weights}-{target}"), NANO
    if not bundle.is_dir():
        if weights not in PRECISIONS:
            model = quantized(NANO, weights, scratch / f"{weights}.quantized")
        settings = Settings(TARGETS[target].precision, max_context=CONTEXT, options=TARGETS[target].options())
        export_bundle(str(model), target, bundle, settings, prove=False)  # phantom-edge verify proves the same
    return bundle


def by_litert_lm(bundle: Path, asked: Sequence[Example], folder: Path) -> list[str]:
    """LiteRT-LM's answers."""
    opened, known = Bundle.open(bundle), dict[Any, list[str]]()
    folder.mkdir(exist_ok=True)
    for picture in (one for example in asked for one in example.images):
        assert isinstance(picture, Path)
        known.setdefault(picture, [str(one.absolute()) for one in tiles_of(opened, picture, folder)])
    given = [[[tile for one in example.images for tile in known[one]], example.query.question] for example in asked]
    command = [sys.executable, "-m", "benchmarks.litert_lm", str(bundle / CONTAINER), str(MOST)]
    done = subprocess.run(command, input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure what is missing, and write all."""
    bench = begin("litert", __doc__, pictures=PICTURES)
    torch.set_num_threads(1)
    pictures = bench.asked.pictures
    asked = chosen(read_examples(scenes(bench.scratch / f"scenes-{pictures}", pictures, "test")).found)

    def answered(weights: str, target: str) -> Found:
        bundle = bundle_of(weights, target, bench.scratch)
        session = session_of(Bundle.open(bundle), threads=1)
        texts = BundleAnswerer(session, MOST).answer([example.query for example in asked])
        found: Found = {"answers": texts, "megabytes": round(listed(bundle, CONTAINER), 2)}
        if target == OWN:
            found["litert_lm"] = by_litert_lm(bundle, asked, bench.scratch / f"tiles-{pictures}")
        return found

    rows: dict[str, Any] = {}
    base = None
    for weights in WEIGHTS:
        for target in (OTHER, OWN):
            found = bench.once(f"{weights}-{target}-{pictures}", lambda one=(weights, target): answered(*one))  # type: ignore[misc]
            right = np.array(judge(asked, found["answers"]), np.float64)
            base = right if base is None else base
            row: Found = {"megabytes": found["megabytes"], "right": 100 * float(right.mean())}
            row |= points_lost(asked, right, base)
            if target == OWN:
                others = found["litert_lm"]
                same = [ours == theirs for ours, theirs in zip(found["answers"], others, strict=True)]
                row["same_in_litert_lm"] = float(np.mean(same))
                row["right_in_litert_lm"] = 100 * float(np.mean(judge(asked, others)))
            rows[f"{weights}, {target}"] = row
    about = {"model": "phantom-nano", "pictures": pictures, "questions": len(asked)}
    bench.write({**about, "rows": rows, "machine": machine("on one thread")})


if __name__ == "__main__":
    main()

"""The same weights on every target, asked the same questions: does quantizing once hold everywhere?

    python benchmarks/targets.py runs/targets --out benchmarks/results/targets.json

Bundles of phantom-nano: ONNX graphs run by ONNX Runtime, Core ML packages by the interpreter, which rounds to float16
after every operator, ExecuTorch programs by ExecuTorch. Answers, and what is thought of each token of the right ones,
beside the float32 bundle. Rows that are on disk are not measured again.
"""

import argparse
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from quality import chosen, file_name, measure

from phantom_edge.checkpoint.source import Source
from phantom_edge.data.examples import read_examples
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets import PRECISIONS
from phantom_edge.export.targets.target import Compute, Settings
from phantom_edge.foundation.files import whole_file
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

PICTURES, CONTEXT = 80, 512


@dataclass(frozen=True)
class Row:
    """A bundle to be: its weights (a number format or a recipe), its target and what computes there."""

    weights: str
    target: str
    compute: Compute = "auto"

    @property
    def name(self) -> str:
        """Such as int8, coreml ane."""
        return f"{self.weights}, {self.target}{'' if self.compute == 'auto' else f' {self.compute}'}"


ROWS = (
    Row("fp32", "onnx"),
    Row("fp32", "executorch"),
    Row("fp16", "coreml", "gpu"),
    Row("fp16", "coreml", "ane"),
    Row("int8", "onnx"),
    Row("int8", "coreml", "ane"),
    Row("int8", "executorch"),
    Row("int4", "onnx"),
    Row("int4", "coreml", "gpu"),
    Row("int4", "executorch"),
    Row("lut4", "coreml", "ane"),
)


def bundle_of(row: Row, scratch: Path) -> Path:
    """The row's bundle, made unless it is there."""
    bundle, model = scratch / file_name(row.name), NANO
    if not bundle.is_dir():
        if row.weights not in ("fp32", "fp16"):
            model = scratch / f"{row.weights}.quantized"
            if not model.is_dir():
                quantize_checkpoint(NANO, read_recipe(row.weights), model, name=row.weights)
        settings = Settings(PRECISIONS[row.target], max_context=CONTEXT, compute=row.compute, self_test=False)
        export_bundle(str(model), row.target, bundle, settings, prove=False)  # phantom-edge verify proves the same
    return bundle


def main() -> None:
    """Measure what is missing, and write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes = options.scratch / f"scenes-{options.pictures}"
    if not scenes.is_dir():
        write_scenes(scenes, options.pictures, split="test", size=224)
    asked = chosen(read_examples(scenes / "triples.jsonl").found)
    source, base = Source.open(NANO), None
    rows: dict[str, Any] = {}
    for row in ROWS:
        known = options.scratch / f"{file_name(row.name)}-{options.pictures}.json"
        if not known.is_file() or row is ROWS[0]:
            found, base = measure(bundle_of(row, options.scratch), asked, source, base)
            with whole_file(known) as file:
                json.dump(found, file)
        rows[row.name] = json.loads(known.read_text(encoding="utf-8"))
        print(row.name, rows[row.name], file=sys.stderr)
    document = {
        "model": "phantom-nano",
        "pictures": options.pictures,
        "questions": len(asked),
        "rows": rows,
        "machine": f"{platform.machine()}, on one thread",
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

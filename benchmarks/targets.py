"""The same weights on every target, asked the same questions: does quantizing once hold everywhere?

    python -m benchmarks.targets --out benchmarks/results/targets.json

Bundles of phantom-nano: ONNX graphs run by ONNX Runtime, Core ML packages by the interpreter, which rounds to float16
after every operator, ExecuTorch programs by ExecuTorch. Answers, and what is thought of each token of the right ones,
beside the float32 bundle.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import begin, file_name, machine
from benchmarks.materials import quantized, scenes
from benchmarks.quality import chosen, measure
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.examples import read_examples
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.coreml.options import Compute
from phantom_edge.export.targets.target import PRECISIONS, Settings
from phantom_edge.models.shipped import NANO

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
    bundle, model, target = scratch / file_name(row.name), NANO, TARGETS[row.target]
    if not bundle.is_dir():
        if row.weights not in PRECISIONS:
            model = quantized(NANO, row.weights, scratch / f"{row.weights}.quantized")
        owns: dict[str, dict[str, Any]] = {"coreml": {"compute": row.compute}, "executorch": {"self_test": False}}
        settings = Settings(target.precision, max_context=CONTEXT, options=target.options(**owns.get(row.target, {})))
        export_bundle(str(model), row.target, bundle, settings, prove=False)  # phantom-edge verify proves the same
    return bundle


def main() -> None:
    """Measure what is missing, and write all."""
    bench = begin("targets", __doc__, pictures=PICTURES)
    torch.set_num_threads(1)
    pictures = bench.asked.pictures
    asked = chosen(read_examples(scenes(bench.scratch / f"scenes-{pictures}", pictures, "test")).found)
    source, first = Source.open(NANO), None

    def measured(row: Row) -> dict[str, Any]:
        nonlocal first
        found, first = measure(bundle_of(row, bench.scratch), asked, source, first)
        return found

    rows = {
        row.name: bench.once(f"{row.name}-{pictures}", lambda row=row: measured(row), again=row is ROWS[0])  # type: ignore[misc]
        for row in ROWS
    }
    about = {"model": "phantom-nano", "pictures": pictures, "questions": len(asked)}
    bench.write({**about, "rows": rows, "machine": machine("on one thread")})


if __name__ == "__main__":
    main()

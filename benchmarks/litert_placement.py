"""Operators of phantom-nano's graphs for NPUs that each maker's compiler takes.

    python -m benchmarks.litert_placement --libraries FOLDER --out benchmarks/results/litert-placement.json

Qualcomm's compiler runs: FOLDER holds QNN's libraries. The default is the folder of onnxruntime-qnn, which brings them.
The others are counted by the lists that their makers publish. The decoder for CPUs and GPUs, with caches in
place, is there to compare with.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness import Json, begin, edge, machine
from benchmarks.materials import quantized
from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.litert.lint import nodes
from phantom_edge.export.targets.litert.operator_lists import LISTS
from phantom_edge.export.targets.litert.reader.model import read_model
from phantom_edge.models.shipped import NANO

CHIP, CONTEXT = "sm8750", 512
ABSENT = "libQnnLpai.so"
"""Library that LiteRT's plugin loads and does not use here; where FOLDER lacks it, an empty one takes its place."""

Counts = dict[str, dict[str, int]]


def bundle_of(weights: str, compute: str, scratch: Path) -> Path:
    """The bundle, made unless it is there; ``verify`` proves the same."""
    bundle = scratch / f"{weights}-{compute}"
    if not bundle.is_dir():
        model = NANO if weights == "fp32" else quantized(NANO, weights, scratch / f"{weights}.quantized")
        chip = ["--chip", CHIP] if compute == "npu" else []
        edge(
            *("export", model, "--target", "litert", "--compute", compute, *chip, "--no-verify"),
            *("--max-context", CONTEXT, "--out", bundle),
        )
    return bundle


def by_lists(bundle: Path) -> Counts:
    """Operators of each part that a maker's list has, and the kinds that it has not."""
    opened = Bundle.open(bundle)
    found: dict[str, dict[str, Any]] = {}
    for name, part in opened.manifest.parts.items():
        if name not in ("vision", "decoder", "chunk"):
            continue
        kinds = Counter(one.type for one in nodes(read_model(opened.file(part.file))[part.function]))
        row: dict[str, Any] = {"operators": kinds.total()}
        for one in LISTS:
            left = {kind: count for kind, count in kinds.items() if not one.takes(kind)}
            row[one.maker.name] = {"placed": kinds.total() - sum(left.values()), "left": left}
        found[name] = row
    return found


def compiled(bundle: Path, libraries: Path, scratch: Path) -> Json:
    """What ``compile.py`` prints: operators on the NPU, by file."""
    stub = scratch / "stub"
    stub.mkdir(exist_ok=True)
    if not (libraries / ABSENT).exists():
        subprocess.run(["cc", "-shared", "-o", stub / ABSENT, "-x", "c", os.devnull], check=True)
    command = [sys.executable, "compile.py", "--least", "0", "--libraries", f"{libraries}{os.pathsep}{stub.absolute()}"]
    done = subprocess.run(command, cwd=bundle, stdout=subprocess.PIPE, text=True, check=True)
    found: Json = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Count, compile what is missing, and write all."""
    spec = find_spec("onnxruntime_qnn")
    usual = "" if spec is None or spec.origin is None else str(Path(spec.origin).parent)
    bench = begin("litert-placement", __doc__, libraries=usual)
    if not bench.asked.libraries:
        sys.exit("error: there are no QNN libraries\n  pip install onnxruntime-qnn, or give --libraries FOLDER")
    rows = {}
    for weights, compute in (("fp32", "npu"), ("int8", "npu"), ("fp32", "cpu")):
        bundle = bundle_of(weights, compute, bench.scratch)
        row: dict[str, Any] = {"parts": by_lists(bundle)}
        if compute == "npu":
            libraries = Path(bench.asked.libraries).absolute()
            measure = partial(compiled, bundle, libraries, bench.scratch)
            row["qualcomm"] = bench.once(f"{weights}-qualcomm", measure)
        rows[f"{weights}, {compute}"] = row
    bench.write({"model": "phantom-nano", "chip": CHIP, "rows": rows, "machine": machine()})


if __name__ == "__main__":
    main()

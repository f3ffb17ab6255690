"""Time and peak memory of exporting real shapes with random weights, and of installing what runs a bundle.

    python -m benchmarks.export 0.5b:fp32 7b:fp16:unverified --out benchmarks/results/export.json

Each export is a process of its own; its peak is what the kernel accounts to it. Eta is 1, so that a fault of the
phantom branch would show in the verification, whose largest relative error is in the table. The ceiling to compare
with: the bytes of the weights, which go through once.
"""

import json
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

from benchmarks.harness import begin, edge, listed, machine, megabytes
from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import RELATIVE

ROOT = Path(__file__).resolve().parents[1]


def export(job: str, scratch: Path) -> dict[str, Any]:
    """One export, then its bundle is removed."""
    size, weights, *rest = job.split(":")
    checkpoint, bundle = scratch / size, scratch / f"{size}-{weights}"
    if not checkpoint.exists():
        edge("init", size, checkpoint, "--random", "--eta", "1")
    verify = "--no-verify" if rest else "--verify"
    arguments = ("--target", "onnx", "--out", bundle, "--weights", weights, verify, "--force")
    figures = edge("export", checkpoint, *arguments)
    written = Bundle.unchecked(bundle)
    checks = written.proof.checks if written.proof else ()
    relative = [check.value for check in checks if check.measure == RELATIVE and check.value is not None]
    row = {
        "size": size,
        "weights": weights,
        "megabytes": round(listed(bundle)),
        **figures,
        "measures_kept": sum(check.bound is not None for check in checks),
        "largest_relative_error": max(relative, default=None),
        "ranks": sorted({rank for layer in written.manifest.phantom for rank in (layer.key_rank, layer.value_rank)}),
    }
    shutil.rmtree(bundle)
    return row


def install(scratch: Path) -> dict[str, Any]:
    """A new environment with what runs a bundle: its size, and how long importing the runtime takes in it."""
    folder = scratch / "environment"
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    bare = megabytes(folder)
    pip = [str(python), "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), f"{ROOT}[ort]"]
    subprocess.run(pip, check=True)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run([str(python), "-c", "import phantom_edge.runtime.session, onnxruntime"], check=True)
        seconds.append(time.perf_counter() - start)
    packages = subprocess.run([str(python), "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "torch" not in packages and "transformers" not in packages
    row = {
        "megabytes": round(megabytes(folder) - bare),
        "import_seconds": round(sorted(seconds)[len(seconds) // 2], 2),
    }
    shutil.rmtree(folder)
    return row


def main() -> None:
    """Measure each."""
    jobs = {"dest": "jobs", "nargs": "+", "metavar": "SIZE:WEIGHTS[:unverified]"}
    bench = begin("export", __doc__, jobs)
    rows = []
    for job in bench.asked.jobs:
        rows.append(export(job, bench.scratch))
        print(json.dumps(rows[-1]), file=sys.stderr)
    bench.write({"machine": machine(), "rows": rows, "runtime": install(bench.scratch)})


if __name__ == "__main__":
    main()

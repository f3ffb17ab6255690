"""Time and peak memory of exporting real shapes with random weights, and of installing what runs a bundle.

    python benchmarks/export.py 0.5b:fp32 7b:fp16:unverified --scratch runs/export --out benchmarks/results/export.json

Each export is a process of its own; its peak is what the kernel accounts to it. Eta is 1, so that a fault of the
phantom branch would show in the verification, whose largest relative error is told. The ceiling to compare with: the
bytes of the weights, which go through once.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

from memory import CLI, measure
from rich.console import Console
from rich.table import Table

from phantom_edge.bundle.folder import read_manifest
from phantom_edge.models.sizes import SIZES

ROOT = Path(__file__).resolve().parents[1]


def export(job: str, scratch: Path) -> dict[str, Any]:
    """One export, then its bundle is removed."""
    size, weights, *rest = job.split(":")
    checkpoint, bundle = scratch / size, scratch / f"{size}-{weights}"
    if not checkpoint.exists():
        measure(CLI, "init", size, str(checkpoint), "--random", "--eta", "1")
    verify = "--no-verify" if rest else "--verify"
    arguments = ("export", str(checkpoint), "--target", "onnx", "--out", str(bundle), "--weights", weights, verify)
    figures = measure(CLI, *arguments, "--force")
    manifest = read_manifest(bundle)
    errors = [check.value for check in (manifest.proof.checks if manifest.proof else ()) if check.bound is not None]
    relative = [c.value for c in (manifest.proof.checks if manifest.proof else ()) if c.measure == "relative error"]
    row = {
        "size": size,
        "weights": weights,
        "megabytes": round(sum(file.bytes for file in manifest.files.values()) / 1e6),
        **figures,
        "measures_kept": len(errors),
        "largest_relative_error": max(relative, default=None),
        "ranks": sorted({rank for layer in manifest.phantom for rank in (layer.key_rank, layer.value_rank)}),
    }
    shutil.rmtree(bundle)
    return row


def install(scratch: Path) -> dict[str, Any]:
    """A new environment with what runs a bundle: its size, and how long importing the runtime takes in it."""
    folder = scratch / "environment"
    venv.create(folder, clear=True, with_pip=True)
    python = folder / "bin" / "python"
    bare = _megabytes(folder)
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
        "megabytes": round(_megabytes(folder) - bare),
        "import_seconds": round(sorted(seconds)[len(seconds) // 2], 2),
    }
    shutil.rmtree(folder)
    return row


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main() -> None:
    """Measure each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="+", metavar=f"SIZE:WEIGHTS[:unverified], SIZE of {', '.join(SIZES)}")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    rows = []
    for job in options.jobs:
        rows.append(export(job, options.scratch))
        print(json.dumps(rows[-1]), file=sys.stderr)
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "rows": rows,
        "runtime": install(options.scratch),
    }
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    table = Table("size", "weights", "bundle, MB", "peak memory, MB", "seconds", "largest relative error")
    for row in rows:
        names = ("size", "weights", "megabytes", "peak_megabytes", "seconds", "largest_relative_error")
        table.add_row(*(str(row[name]) for name in names))
    Console().print(table, document["runtime"])
    shutil.rmtree(options.scratch)


if __name__ == "__main__":
    main()

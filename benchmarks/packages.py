"""Core ML packages of a real shape with random weights: minutes, peak memory, megabytes, and what lint says.

    python benchmarks/packages.py 0.5b --scratch runs/packages --out benchmarks/results/packages.json

Each export is a process of its own; its peak is what the kernel accounts to it. Not compared with the checkpoint here:
``phantom-edge verify`` does that. The ceiling: the bytes of the weights.
"""

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from memory import CLI, measure
from rich.console import Console
from rich.table import Table

from phantom_edge.bundle.folder import read_manifest
from phantom_edge.export.lint.engine import lint
from phantom_edge.models.sizes import SIZES

JOBS = (("fp16", "gpu"), ("fp16", "ane"), ("int8", "ane"), ("int4", "gpu"), ("lut4", "ane"))


def export(size: str, weights: str, compute: str, scratch: Path) -> dict[str, Any]:
    """One export, then its bundle is removed."""
    checkpoint, bundle = scratch / size, scratch / f"{size}-{weights}-{compute}"
    if not checkpoint.exists():
        measure(CLI, "init", size, str(checkpoint), "--random", "--eta", "1")
    if weights != "fp16":
        quantized = scratch / f"{size}-{weights}.quantized"
        if not quantized.exists():
            measure(CLI, "quantize", str(checkpoint), "--recipe", weights, "--out", str(quantized))
        checkpoint = quantized
    arguments = ("export", str(checkpoint), "--target", "coreml", "--compute", compute, "--no-verify", "--force")
    figures = measure(CLI, *arguments, "--max-context", "1024", "--out", str(bundle))
    files, report = read_manifest(bundle).files, lint(bundle)
    row = {
        "size": size,
        "weights": weights,
        "compute": compute,
        **figures,
        **{
            f"{part}_megabytes": round(sum(file.bytes for name, file in files.items() if name.startswith(part)) / 1e6)
            for part in ("vision", "decoder", "embedding")
        },
        "operations": {name: part.operations for name, part in report.parts.items()},
        "eligible": {name: part.share for name, part in report.parts.items()},
    }
    shutil.rmtree(bundle)
    return row


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="such as int8-ane; the others stay as they are in --out")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    known: list[dict[str, Any]] = []
    if options.out.is_file():
        known = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
    rows = []
    for weights, compute in JOBS:
        old = [row for row in known if (row["weights"], row["compute"]) == (weights, compute)]
        if options.only and f"{weights}-{compute}" not in options.only:
            rows += old
            continue
        rows.append(export(options.size, weights, compute, options.scratch))
        print(rows[-1], file=sys.stderr)
        machine = f"{platform.machine()}, {platform.system()}"
        options.out.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    table = Table("weights", "compute", "seconds", "peak MB", "vision MB", "decoder MB", "least eligible")
    for row in rows:
        megabytes = (row["seconds"], row["peak_megabytes"], row["vision_megabytes"], row["decoder_megabytes"])
        table.add_row(row["weights"], row["compute"], *map(str, megabytes), f"{min(row['eligible'].values()):.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()

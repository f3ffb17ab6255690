"""Core ML packages of a real shape with random weights: minutes, peak memory, megabytes, and what lint says.

    python -m benchmarks.packages 0.5b --out benchmarks/results/packages.json

Each export is a process of its own. Not compared with the checkpoint here: ``phantom-edge verify`` does that. The
ceiling: the bytes of the weights. With ``--only int8-ane`` the other rows stay as they are in ``--out``.
"""

import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import begin, edge, machine
from phantom_edge.bundle.folder import read_manifest
from phantom_edge.export.linting import lint_bundle
from phantom_edge.models.sizes import SIZES

JOBS = (("fp16", "gpu"), ("fp16", "ane"), ("int8", "ane"), ("int4", "gpu"), ("lut4", "ane"))


def export(size: str, weights: str, compute: str, scratch: Path) -> dict[str, Any]:
    """One export, then its bundle is removed."""
    checkpoint, bundle = scratch / size, scratch / f"{size}-{weights}-{compute}"
    if not checkpoint.exists():
        edge("init", size, checkpoint, "--random", "--eta", "1")
    if weights != "fp16":
        quantized = scratch / f"{size}-{weights}.quantized"
        if not quantized.exists():
            edge("quantize", checkpoint, "--recipe", weights, "--out", quantized)
        checkpoint = quantized
    arguments = ("--target", "coreml", "--compute", compute, "--no-verify", "--force", "--max-context", 1024)
    figures = edge("export", checkpoint, *arguments, "--out", bundle)
    files, report = read_manifest(bundle).files, lint_bundle(bundle)
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
    """Measure and write."""
    bench = begin("packages", __doc__, {"dest": "size", "choices": SIZES}, only=[])
    known, only, rows = bench.before().get("rows", []), bench.asked.only, list[dict[str, Any]]()
    for weights, compute in JOBS:
        if only and f"{weights}-{compute}" not in only:
            rows += [row for row in known if (row["weights"], row["compute"]) == (weights, compute)]
            continue
        rows.append(export(bench.asked.size, weights, compute, bench.scratch))
        print(rows[-1], file=sys.stderr)
        bench.write({"machine": machine(platform.system()), "rows": rows}, show=False)
    bench.write({"machine": machine(platform.system()), "rows": rows})


if __name__ == "__main__":
    main()

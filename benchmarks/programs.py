"""ExecuTorch programs of the 0.5b shape, random weights, with and without the phantom dimension, beside ONNX Runtime.

    python benchmarks/programs.py runs/programs --out benchmarks/results/programs.json

Each export is a process of its own; its peak is what the kernel accounts to it. Speeds are taken as ``peers.py`` takes
them: systems take turns, ratios are medians over the turns. The ceiling: bytes of the weights, which every token reads.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import peers
import torch
from memory import CLI, measure
from peers import ETA, System, take_turns
from rich.console import Console
from rich.table import Table

from phantom_edge.bundle.folder import read_manifest
from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES

SIZE = "0.5b"
CONTEXT = 1024
CONTEXTS, TURNS = (256, 960), 5


@dataclass(frozen=True)
class Job:
    """A bundle to be."""

    weights: str
    phantom: str
    target: str = "executorch"

    @property
    def name(self) -> str:
        """Such as int4, rank=auto, executorch."""
        return f"{self.weights}, {self.phantom}, {self.target}"

    @property
    def folder(self) -> str:
        """Of its bundle."""
        return self.name.replace(", ", "-").replace("=", "-")


JOBS = (
    Job("int4", "rank=auto"),
    Job("int4", "full"),
    Job("int4", "rank=0"),
    Job("int8", "rank=auto"),
    Job("int4", "rank=auto", "onnx"),
    Job("int8", "rank=auto", "onnx"),
)


def export(job: Job, scratch: Path) -> None:
    """The job's bundle, and beside it what making it took, unless it is there."""
    checkpoint, bundle, figures = scratch / SIZE, scratch / job.folder, scratch / f"{job.folder}.json"
    if figures.is_file():
        return
    if not checkpoint.is_dir():
        write_random(SIZES[SIZE], checkpoint, seed=0, dtype=torch.float16, eta=ETA)
    quantized = scratch / f"{job.weights}.quantized"
    if not quantized.is_dir():
        measure(CLI, "quantize", str(checkpoint), "--recipe", job.weights, "--out", str(quantized))
    arguments = ["export", str(quantized), "--target", job.target, "--out", str(bundle), "--no-verify", "--force"]
    arguments += ["--phantom", job.phantom, "--max-context", str(CONTEXT)]
    arguments += ["--no-self-test"] if job.target == "executorch" else []
    found = measure(CLI, *arguments)
    figures.write_text(json.dumps(found), encoding="utf-8")


def rows(systems: list[System], threads: int, base: str) -> list[dict[str, Any]]:
    """What was measured, and each speed's ratio to that of ``base``."""
    found = []
    other = next(system for system in systems if system.name == base)
    for system in systems:
        row: dict[str, Any] = {
            "system": system.name,
            "threads": threads,
            "load_seconds": round(system.load_seconds, 2),
            "peak_megabytes": system.peak_megabytes,
        }
        for context in CONTEXTS:
            for what, speeds in (("prefill", "prompts"), ("decode", "steps")):
                own, theirs = getattr(system, speeds)[context], getattr(other, speeds)[context]
                row[f"{what}_{context}"] = round(median(own), 1)
                row[f"{what}_{context}_ratio"] = round(median(a / b for a, b in zip(own, theirs, strict=True)), 2)
        found.append(row)
    return found


def about(job: Job, scratch: Path) -> dict[str, Any]:
    """What a bundle is, and what making it took."""
    manifest = read_manifest(scratch / job.folder)
    figures = json.loads((scratch / f"{job.folder}.json").read_text(encoding="utf-8"))
    decoder = manifest.parts["decoder"].delegation
    return {
        **figures,
        "megabytes": round(sum(file.bytes for file in manifest.files.values()) / 1e6),
        "row_widths": sorted({*manifest.cache.key_widths, *manifest.cache.value_widths}),
        **({} if decoder is None else {"delegated": decoder.share, "work_delegated": decoder.share_of_work}),
    }


def main() -> None:
    """Make what is missing, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only-export", action="store_true", help="make the bundles, and measure no speed")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    for job in JOBS:
        print(job.name, file=sys.stderr)
        export(job, options.scratch)
    if options.only_export:
        return
    peers.CONTEXTS = CONTEXTS
    measured: list[dict[str, Any]] = []
    if options.out is not None and options.out.is_file():  # of other numbers of threads
        known = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
        measured = [row for row in known if row["threads"] not in options.threads]
    for threads in options.threads:
        kinds = {"executorch": "program", "onnx": "ours"}
        systems = [System(job.name, kinds[job.target], options.scratch / job.folder, sys.executable) for job in JOBS]
        take_turns(systems, threads, options.turns)
        measured += rows(systems, threads, JOBS[0].name)
    document = {
        "size": SIZE,
        "bundles": {job.name: about(job, options.scratch) for job in JOBS},
        "rows": measured,
        "turns": options.turns,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    show(measured)


def show(measured: list[dict[str, Any]]) -> None:
    """Tokens a second, and the ratio to the first."""
    names = [f"{what}_{context}" for context in CONTEXTS for what in ("prefill", "decode")]
    table = Table(
        "system", "threads", "load, s", "peak, MB", *(f"{name.replace('_', ' at ')}, tok/s" for name in names)
    )
    for row in measured:
        found = [f"{row[name]:g} ({row[f'{name}_ratio']:g}x)" for name in names]
        table.add_row(row["system"], str(row["threads"]), str(row["load_seconds"]), str(row["peak_megabytes"]), *found)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()

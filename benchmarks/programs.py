"""ExecuTorch programs of the 0.5b shape, random weights, with and without the phantom dimension, beside ONNX Runtime.

    python -m benchmarks.programs --out benchmarks/results/programs.json

Each export is a process of its own. Speeds are taken as ``peers`` takes them: systems take turns, ratios are medians
over the turns. The ceiling: bytes of the weights, which every token reads. ``--only-export`` makes the bundles, and
measures no speed; rows of other numbers of threads stay as they are in ``--out``.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Bench, begin, edge, listed, machine
from benchmarks.materials import checkpoint, quantized
from benchmarks.peers import System, rows, take_turns
from phantom_edge.bundle.folder import read_manifest

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
        """The folder of its bundle."""
        return self.name.replace(", ", "-").replace("=", "-")


JOBS = (
    Job("int4", "rank=auto"),
    Job("int4", "full"),
    Job("int4", "rank=0"),
    Job("int8", "rank=auto"),
    Job("int4", "rank=auto", "onnx"),
    Job("int8", "rank=auto", "onnx"),
)


def export(job: Job, scratch: Path) -> dict[str, Any]:
    """Make the job's bundle; returns what making it took."""
    integers = quantized(checkpoint(SIZE, scratch / SIZE), job.weights, scratch / f"{job.weights}.quantized")
    arguments = ["--target", job.target, "--out", scratch / job.folder, "--no-verify", "--force"]
    arguments += ["--phantom", job.phantom, "--max-context", CONTEXT]
    arguments += ["--no-self-test"] if job.target == "executorch" else []
    return edge("export", integers, *arguments)


def about(job: Job, bench: Bench) -> dict[str, Any]:
    """The figures of a bundle and of its export, from this run or an earlier one."""
    figures = bench.once(job.folder, lambda: export(job, bench.scratch))
    manifest = read_manifest(bench.scratch / job.folder)
    decoder = manifest.parts["decoder"].delegation
    return {
        **figures,
        "megabytes": round(listed(bench.scratch / job.folder)),
        "row_widths": sorted({*manifest.cache.key_widths, *manifest.cache.value_widths}),
        **({} if decoder is None else {"delegated": decoder.share, "work_delegated": decoder.share_of_work}),
    }


def main() -> None:
    """Make what is missing, measure, and write."""
    bench = begin("programs", __doc__, turns=TURNS, threads=[1, 2], only_export=False)
    asked, scratch = bench.asked, bench.scratch
    bundles = {job.name: about(job, bench) for job in JOBS}
    if asked.only_export:
        return
    measured = [row for row in bench.before().get("rows", []) if row["threads"] not in asked.threads]
    for threads in asked.threads:
        kinds = {"executorch": "program", "onnx": "ours"}
        systems = [
            System(job.name, kinds[job.target], folder := scratch / job.folder, sys.executable, listed(folder))
            for job in JOBS
        ]
        take_turns(systems, threads, asked.turns, CONTEXTS)
        measured += rows(systems, threads, systems[:1], CONTEXTS)
    bench.write({"size": SIZE, "bundles": bundles, "rows": measured, "turns": asked.turns, "machine": machine()})


if __name__ == "__main__":
    main()

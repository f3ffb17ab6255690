"""The planner against this machine: predictions of 14 profiles, calibrated by profiles of 4 others.

    python benchmarks/plan.py runs/plan --out benchmarks/results/plan.json
    python benchmarks/plan.py runs/plan --only tiny-fp32-1t mid-fp32-1t nano-fp32-1t        some of them, to try it

Bundles are of random weights, of sizes between tiny and 0.5b. Each is exported and profiled in a process of its own, on
as many threads as its name says, numpy's among them, so that the machine's rates are of as many. What is there is not
made again. Errors are of the middle of what was foretold, relative to what was measured; goals: a median below 15 % for
memory, below 30 % for times.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from subprocess import run as start
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES, Size, VisionSize
from phantom_edge.profile.devices.table import read_table
from phantom_edge.profile.plan.fitting import Missed, against, calibrated
from phantom_edge.profile.plan.predict import Factors, kind_of
from phantom_edge.profile.plan.samples import Sample, sample_of
from phantom_edge.profile.result import read_run

TARGET = "onnx"
GOALS = {"memory": 0.15, "times": 0.30}

MID = replace(
    SIZES["nano"],
    name="mid",
    hidden=384,
    layers=12,
    heads=6,
    intermediate=1536,
    vocab=4096,
    vision=VisionSize(hidden=384, layers=8, heads=6, intermediate=1536, image=224, patch=14),
)
LARGE = replace(
    SIZES["nano"],
    name="large",
    hidden=640,
    layers=16,
    heads=10,
    intermediate=2560,
    vocab=16384,
    vision=VisionSize(hidden=512, layers=12, heads=8, intermediate=2048, image=336, patch=14),
)
MODELS: dict[str, Size] = {size.name: size for size in (SIZES["tiny"], SIZES["nano"], MID, LARGE, SIZES["0.5b"])}


@dataclass(frozen=True)
class Job:
    """A bundle, and threads that it is profiled on."""

    size: str
    weights: str
    threads: int = 1
    context: int = 1280

    @property
    def bundle(self) -> str:
        """Its folder."""
        return f"{self.size}-{self.weights}-{self.context}"

    @property
    def name(self) -> str:
        """Such as mid-int8-1t."""
        return f"{self.size}-{self.weights}-{self.threads}t" + ("" if self.context == 1280 else f"-{self.context}")


CALIBRATING = (Job("tiny", "fp32"), Job("mid", "fp32"), Job("mid", "int8"), Job("mid", "int4"))
"""One that is little but its layers, and one of each kind of weights that no cache of a processor holds."""

JUDGED = (
    Job("nano", "fp32"),
    Job("tiny", "int8", context=640),
    Job("nano", "int8"),
    Job("nano", "int4"),
    Job("nano", "fp32", 2, 640),
    Job("mid", "fp32", 2),
    Job("mid", "int8", 2),
    Job("mid", "int4", 2),
    Job("large", "fp32"),
    Job("large", "int8"),
    Job("large", "int4", context=640),
    Job("large", "int4", 2),
    Job("0.5b", "int8"),
    Job("0.5b", "int4", 2),
)


def edge(desk: Path, threads: int, *arguments: object) -> None:
    """The command line, on so many threads; the user's history of profiles is left as it is."""
    words = [sys.executable, "-m", "phantom_edge", *map(str, arguments)]
    own = {"OMP_NUM_THREADS": str(threads), "PHANTOM_EDGE_HOME": str(desk / "home")}
    start(words, check=True, env={**os.environ, **own}, stdout=sys.stderr)


def profile(job: Job, desk: Path) -> Path:
    """The job's profile, made unless it is there."""
    checkpoint, bundle, out = desk / job.size, desk / job.bundle, desk / f"{job.name}.json"
    if out.is_file():
        return out
    if not checkpoint.is_dir():
        write_random(MODELS[job.size], checkpoint, seed=0, dtype=torch.float32)
    if not bundle.is_dir():
        shape = ["--max-context", job.context, "--max-tiles", 1, "--phantom", "rank=8", "--no-verify"]
        edge(desk, 1, "export", checkpoint, "--target", TARGET, "--weights", job.weights, *shape, "--out", bundle)
    edge(desk, job.threads, "profile", bundle, "--threads", job.threads, "--repeats", 5, "--out", out)
    return out


def sample(job: Job, desk: Path) -> Sample:
    """As the planner sees it."""
    return sample_of(read_run(desk / f"{job.name}.json"), (MODELS[job.size],))


def row(job: Job, missed: list[Missed]) -> dict[str, Any]:
    """What was foretold of a job, and what was measured."""
    return {
        "job": job.name,
        "found": [
            {
                "what": one.what,
                "foretold": one.predicted.middle,
                "low": one.predicted.low,
                "high": one.predicted.high,
                "measured": one.took,
                "error": round(one.error, 4),
                "within": one.is_within,
            }
            for one in missed
        ],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and largest errors, by what they are of."""
    kinds = {"memory": ("memory",), "vision": ("vision",), "prefill": ("prefill",), "decode": ("a token",)}
    kinds["times"] = ("vision", "prefill", "a token")
    found = {}
    for kind, starts in kinds.items():
        errors = [abs(one["error"]) for each in rows for one in each["found"] if one["what"].startswith(starts)]
        within = [one["within"] for each in rows for one in each["found"] if one["what"].startswith(starts)]
        if errors:
            found[kind] = {
                "median": round(median(errors), 4),
                "largest": round(max(errors), 4),
                "within": round(sum(within) / len(within), 3),
                "of": len(errors),
            }
    return found


def told(factors: Factors) -> dict[str, Any]:
    """The factors that were fitted."""
    shares = {
        stage: {kind: round(found.share.middle, 4) for kind, found in kinds.items()}
        for stage, kinds in factors.measured.items()
    }
    layers = {
        stage: round(1e6 * next(iter(kinds.values())).per_layer, 2)
        for stage, kinds in factors.measured.items()
        if kinds
    }
    return {
        "shares": shares,
        "microseconds_per_layer": layers,
        "times_weights": round(factors.weights.middle, 3),
        "runtime_megabytes": round(factors.runtime.middle / 1e6, 1),
    }


def main() -> None:
    """Profile what is missing, predict, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", help="names of jobs, such as mid-int8-1t; of those that calibrate, too")
    arguments = parser.parse_args()
    desk: Path = arguments.scratch
    desk.mkdir(parents=True, exist_ok=True)
    wanted = [job for job in (*CALIBRATING, *JUDGED) if not arguments.only or job.name in arguments.only]
    for job in wanted:
        print(job.name, file=sys.stderr)
        profile(job, desk)
    known = {job.name: sample(job, desk) for job in wanted}
    samples = [known[job.name] for job in CALIBRATING if job.name in known]
    if not samples:
        sys.exit("none of those that calibrate is among them: " + ", ".join(job.name for job in CALIBRATING))
    factors = calibrated(samples, read_table().shares[TARGET])
    judged = [job for job in JUDGED if job.name in known]
    rows = [row(job, against(known[job.name], factors)) for job in judged]
    unknown = [job.name for job in judged if kind_of("decode", job.weights) not in factors.measured["decode"]]
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "target": TARGET,
        "calibrated_by": [job.name for job in CALIBRATING if job.name in known],
        "uncalibrated": unknown,
        "goals": GOALS,
        "factors": told(factors),
        "summary": summary(rows),
        "rows": rows,
    }
    show(document)
    if arguments.out:
        arguments.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def show(document: dict[str, Any]) -> None:
    """For people."""
    table = Table(title="Foretold and measured", title_justify="left")
    for column in ("job", "what", "foretold", "measured", "error", "within"):
        table.add_column(column, justify="left" if column in ("job", "what") else "right")
    for each in document["rows"]:
        for one in each["found"]:
            values = (f"{one[name]:.4g}" for name in ("foretold", "measured"))
            table.add_row(each["job"], one["what"], *values, f"{one['error']:+.0%}", "yes" if one["within"] else "no")
    Console(width=140).print(table)
    Console(width=140).print_json(json.dumps({name: document[name] for name in ("factors", "summary")}))


if __name__ == "__main__":
    main()

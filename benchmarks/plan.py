"""The planner against this machine: predictions of 14 profiles, calibrated by profiles of 4 others.

    python -m benchmarks.plan --out benchmarks/results/plan.json
    python -m benchmarks.plan --only tiny-fp32-1t mid-fp32-1t nano-fp32-1t        some of them, to try it

Bundles are of random weights, of sizes between tiny and 0.5b. Each is exported and profiled in a process of its own, on
as many threads as its name says, numpy's among them, so that the machine's rates are of as many. What is there is not
made again. Errors are those of the middle of a prediction, relative to the measurement; goals: a median below 15 % for
memory, below 30 % for times.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.harness import begin, edge, machine
from benchmarks.materials import checkpoint
from phantom_edge.export.targets import TARGETS
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


def profile(job: Job, desk: Path) -> Path:
    """The job's profile, made unless it is there; the user's history of profiles is left as it is."""
    bundle, out = desk / job.bundle, desk / f"{job.name}.json"
    home = {"PHANTOM_EDGE_HOME": str(desk / "home")}
    if out.is_file():
        return out
    if not bundle.is_dir():
        model = checkpoint(MODELS[job.size], desk / job.size, torch.float32)
        shape = ("--max-context", job.context, "--max-tiles", 1, "--phantom", "rank=8", "--no-verify", "--out", bundle)
        edge("export", model, "--target", TARGET, "--weights", job.weights, *shape, OMP_NUM_THREADS="1", **home)
    edge(
        "profile",
        bundle,
        "--threads",
        job.threads,
        "--repeats",
        5,
        "--out",
        out,
        OMP_NUM_THREADS=str(job.threads),
        **home,
    )
    return out


def sample(job: Job, desk: Path) -> Sample:
    """As the planner sees it."""
    return sample_of(read_run(profile(job, desk)), TARGETS, (MODELS[job.size],))


def row(job: Job, missed: list[Missed]) -> dict[str, Any]:
    """Predictions and measurements of a job."""
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
    kinds: dict[str, tuple[str, ...]] = {name: (name,) for name in ("memory", "vision", "prefill")}
    kinds |= {"decode": ("a token",), "times": ("vision", "prefill", "a token")}
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


def fitted(factors: Factors) -> dict[str, Any]:
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
    bench = begin("plan", __doc__, only=[])
    wanted = [job for job in (*CALIBRATING, *JUDGED) if not bench.asked.only or job.name in bench.asked.only]
    known = {job.name: sample(job, bench.scratch) for job in wanted}
    calibrating = [job.name for job in CALIBRATING if job.name in known]
    if not calibrating:
        sys.exit("none of those that calibrate is among them: " + ", ".join(job.name for job in CALIBRATING))
    factors = calibrated([known[name] for name in calibrating], read_table().shares[TARGET])
    judged = [job for job in JUDGED if job.name in known]
    rows = [row(job, against(known[job.name], factors)) for job in judged]
    unknown = [job.name for job in judged if kind_of("decode", job.weights) not in factors.measured["decode"]]
    document = {
        "machine": machine(),
        "target": TARGET,
        "calibrated_by": calibrating,
        "uncalibrated": unknown,
        "goals": GOALS,
        "factors": fitted(factors),
        "summary": summary(rows),
        "rows": rows,
    }
    bench.write(document)


if __name__ == "__main__":
    main()

"""Bundles for pages: their form for WASM in ONNX Runtime Web beside the same graphs in Python's ONNX Runtime.

    python -m benchmarks.web --out benchmarks/results/web.json

One thread each, whose CPU time counts (other load changes it less than the clock), on the same weights: nano, and the
0.5b shape with random weights, whose plain form (of target onnx) shows what the web form gains. Both are processes that
stay, and take turns, so what else the machine does meets both; a ratio is WASM's speed over Python's, the median over
the turns. Each turn sees a tile (nano), reads a prompt into an empty cache, and decodes tokens after it; choosing them
is in all times. Node stands in for a browser: the same runtime in the same engine for JavaScript, without a page.
WebGPU is not measured: Node has none. Node and npm are needed. The ceiling: a step reads every weight once.
"""

import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Bench, begin, edge, in_turns, machine, ratio
from benchmarks.materials import checkpoint, quantized
from benchmarks.peers import answer
from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets import forms_of

HERE = Path(__file__).parent
ROOT = HERE.parent
PACKAGE = ROOT / "tests" / "support" / "javascript" / "package.json"
PROGRAMS = (ROOT / "export" / "programs", ROOT / "export" / "targets" / "web" / "programs")


@dataclass(frozen=True)
class Job:
    """A bundle to be, and a turn of its measurement."""

    size: str
    weights: str
    target: str
    prompt: int
    decode: int
    turns: int
    has_vision: bool = False

    @property
    def name(self) -> str:
        """Such as nano, int8, web."""
        return f"{self.size}, {self.weights}, {self.target}"

    @property
    def words(self) -> list[str]:
        """Arguments of the processes, behind the bundle."""
        return ["vision"] if self.has_vision else []


JOBS = (
    Job("nano", "fp32", "web", 128, 48, 9, has_vision=True),
    Job("nano", "int8", "web", 128, 48, 9, has_vision=True),
    Job("0.5b", "int8", "web", 64, 12, 3),
    Job("0.5b", "int8", "onnx", 64, 4, 3),
)


def bundle_of(job: Job, scratch: Path) -> Path:
    """The job's bundle, made unless it is there."""
    out = scratch / job.name.replace(", ", "-")
    if not out.is_dir():
        model = checkpoint(job.size, scratch / job.size)
        if job.weights != "fp32":
            model = quantized(model, job.weights, scratch / f"{job.size}-{job.weights}.quantized")
        own = ["--engines", "wasm"] if job.target == "web" else []
        edge("export", model, "--target", job.target, *own, "--max-context", 512, "--no-verify", "--out", out)
    return out


def node_folder(scratch: Path) -> Path:
    """A folder with the programs, and the packages that they need."""
    folder = scratch / "node"
    folder.mkdir(exist_ok=True)
    if not (folder / "node_modules").is_dir():
        shutil.copy(PACKAGE, folder)
        words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr)
    for program in (HERE / "web_run.mjs", *(one for place in PROGRAMS for one in place.glob("*.mjs"))):
        shutil.copy(program, folder)
    return folder


@contextmanager
def process(words: list[str], log: Path) -> Any:
    """A process that answers lines; yields it with the seconds that it took to load."""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True
    ) as running:
        yield running, answer(running)["load_seconds"]
        assert running.stdin is not None
        running.stdin.close()


def measure(job: Job, bench: Bench) -> dict[str, Any]:
    """Medians of both runtimes, and the ratios of their speeds."""
    bundle = bundle_of(job, bench.scratch)
    node = node_folder(bench.scratch)
    commands = {
        "python": [sys.executable, "-m", "benchmarks.web_run", str(bundle), *job.words],
        "wasm": ["node", str(node / "web_run.mjs"), str(bundle.absolute()), *job.words],
    }
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(process(words, bench.scratch / f"{name}.log")) for name, words in commands.items()
        }

        def turn(name: str) -> float:
            found[name].append(answer(running[name][0], prompt=job.prompt, decode=job.decode))
            print(job.name, name, found[name][-1]["prompt_seconds"], file=sys.stderr)
            return float(found[name][-1]["prompt_seconds"])

        in_turns(list(commands), turn, job.turns + 1)
        loads = {name: one[1] for name, one in running.items()}
    return row_of(job, bundle, loads, {name: turns[1:] for name, turns in found.items()})  # the first warms up


def row_of(job: Job, bundle: Path, loads: dict[str, float], found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """The row of a job; ``found`` are the turns of each runtime."""
    form = next(iter(forms_of(Bundle.unchecked(bundle)).values())).manifest
    row: dict[str, Any] = {
        "bundle": job.name,
        "weight_megabytes": round(sum(sum(part.weight_bytes.values()) for part in form.parts.values()) / 1e6, 1),
        "prompt": job.prompt,
    }
    speeds = {
        "prefill": {name: [job.prompt / one["prompt_seconds"] for one in turns] for name, turns in found.items()},
        "decode": {name: [1 / median(one["step_seconds"]) for one in turns] for name, turns in found.items()},
    }
    if job.has_vision:
        speeds["tiles"] = {name: [1 / one["tile_seconds"] for one in turns] for name, turns in found.items()}
    for what, both in speeds.items():
        row[what] = {name: round(median(turns), 2) for name, turns in both.items()}
        row[f"{what}_ratio"] = round(ratio(both["wasm"], both["python"]), 2)
    row["load_seconds"] = {name: round(one, 2) for name, one in loads.items()}
    row["wasm_peak_megabytes"] = found["wasm"][-1]["peak"]
    return row


def main() -> None:
    """Measure what is not yet measured, and write."""
    bench = begin("web", __doc__, only=[])
    chosen = [job for job in JOBS if not bench.asked.only or job.name in bench.asked.only]
    known = {row["bundle"]: row for row in bench.before().get("rows", [])}
    for job in chosen:
        known[job.name] = bench.once(job.name, partial(measure, job, bench), again=bool(bench.asked.only))
    version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    rows = [known[job.name] for job in JOBS if job.name in known]
    bench.write({"machine": machine(), "node": version, "rows": rows})


if __name__ == "__main__":
    main()

"""Our four and eight bits beside those of other systems, on the 0.5b shape with random weights.

    python -m benchmarks.peers --out benchmarks/results/peers.json --peers-python PEERS/bin/python

Ours carries the phantom dimension, theirs is the plain Qwen2 decoder of that shape. Every system is a process of its
own and they take turns, so what else the machine does meets all; a ratio is the median over the turns. Each turn reads
a prompt into an empty cache and decodes some tokens after it; choosing them is in all times. Others run with the
interpreter given, in whose environment they are installed (onnxruntime-genai with transformers and torch;
llama-cpp-python with gguf); those that are not are left out and named.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import begin, in_turns, machine, megabytes, ratio
from benchmarks.materials import checkpoint, quantized
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.onnx.options import OnnxOptions
from phantom_edge.export.targets.target import Settings
from phantom_edge.quantize.recipe import Recipe, read_recipe

HERE = Path(__file__).parent
CONTEXTS, DECODED, TURNS = (256, 1792), 12, 5
PEERS = {"genai": ("onnxruntime-genai, int4", "onnxruntime_genai"), "llama": ("llama.cpp, Q4_0", "llama_cpp")}
FOUR, GROUPED = (Recipe(dict.fromkeys(("decoder", "embedding", "head"), f"int4-g{group}")) for group in (32, 128))
OURS: dict[str, tuple[Recipe, Settings]] = {
    "phantom-edge, int4-g32": (FOUR, Settings()),
    "phantom-edge, int4-g32, int8 cache": (FOUR, Settings(options=OnnxOptions("int8"))),
    "phantom-edge, int4-g128": (GROUPED, Settings()),
    "phantom-edge, int8": (read_recipe("int8"), Settings()),
}


@dataclass
class System:
    """An engine, and its measurements."""

    name: str
    kind: str
    model: Path
    python: str
    load_seconds: float = 0.0
    peak_megabytes: int = 0
    prompts: dict[int, list[float]] = field(default_factory=dict)
    steps: dict[int, list[float]] = field(default_factory=dict)

    @property
    def megabytes(self) -> float:
        """On disk, of what decodes."""
        return megabytes(self.model, skipped="vision")


@contextmanager
def process(system: System, threads: int) -> Iterator[subprocess.Popen[str]]:
    """The system, loaded."""
    log = system.model.with_name(f"{system.model.name}.log")
    command = [system.python, str(HERE / "peers_run.py"), system.kind, str(system.model), str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True
    ) as running:
        system.load_seconds = answer(running)["load_seconds"]
        yield running
        assert running.stdin is not None
        running.stdin.close()


def answer(running: subprocess.Popen[str], **question: int) -> dict[str, Any]:
    """The next line of a process, after a question or at its start."""
    assert running.stdin is not None and running.stdout is not None
    if question:
        running.stdin.write(json.dumps(question) + "\n")
        running.stdin.flush()
    line = running.stdout.readline()
    if not line:
        raise SystemExit(f"{running.args!r} ended with {running.wait()}; see the log beside its model")
    found: dict[str, Any] = json.loads(line)
    return found


def take_turns(systems: list[System], threads: int, turns: int, contexts: Sequence[int]) -> None:
    """Measure all at a number of threads."""
    with ExitStack() as stack:
        running = {system.name: stack.enter_context(process(system, threads)) for system in systems}
        for context in contexts:

            def seconds(number: int, context: int = context) -> float:
                system = systems[number]
                found = answer(running[system.name], prompt=context, decode=DECODED)
                system.peak_megabytes = found["peak"]
                system.steps.setdefault(context, []).append(1 / median(found["step_seconds"]))
                print(threads, context, system.name, found["prompt_seconds"], file=sys.stderr)
                return float(found["prompt_seconds"])

            for number, times in in_turns(range(len(systems)), seconds, turns + 1).items():
                systems[number].prompts[context] = [context / one for one in times[1:]]  # the first is not counted
                del systems[number].steps[context][0]


def rows(systems: list[System], threads: int, bases: list[System], contexts: Sequence[int]) -> list[dict[str, Any]]:
    """The measurements, each with the ratio to the fastest of ``bases``."""
    found = []
    for system in systems:
        row: dict[str, Any] = {
            "system": system.name,
            "threads": threads,
            "megabytes": round(system.megabytes),
            "load_seconds": round(system.load_seconds, 2),
            "peak_megabytes": system.peak_megabytes,
        }
        for context in contexts:
            for what, speeds in (("prefill", "prompts"), ("decode", "steps")):
                own = getattr(system, speeds)[context]
                row[f"{what}_{context}"] = round(median(own), 1)
                if bases:
                    best = [max(turn) for turn in zip(*(getattr(base, speeds)[context] for base in bases), strict=True)]
                    row[f"{what}_{context}_ratio"] = round(ratio(own, best), 2)
        found.append(row)
    return found


def our_bundles(scratch: Path) -> list[System]:
    """Made unless they are there."""
    model, found = checkpoint("0.5b", scratch / "model"), []
    for name, (recipe, settings) in OURS.items():
        bundle = scratch / name.split(", ", 1)[1].replace(", ", "-").replace(" ", "-")
        if not bundle.is_dir():
            integers = quantized(model, recipe, scratch / f"{recipe.parts['decoder']}.quantized")
            export_bundle(str(integers), "onnx", bundle, settings, prove=False)
        found.append(System(name, "ours", bundle, sys.executable))
    return found


def peers(scratch: Path, python: str) -> tuple[list[System], list[str]]:
    """Those that are installed, with their models, and the names of those that are not."""
    found, missing = [], []
    for kind, (name, module) in PEERS.items():
        if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode:
            missing.append(name)
            continue
        place = scratch / ("llama.gguf" if kind == "llama" else kind)
        if not place.exists():
            subprocess.run([python, str(HERE / "peers_models.py"), kind, str(place)], check=True)
        found.append(System(name, kind, place, python))
    return found, missing


def main() -> None:
    """Make what is missing, measure, and write."""
    bench = begin("peers", __doc__, turns=TURNS, threads=[1, 2], peers_python=sys.executable)
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    for threads in bench.asked.threads:
        others, missing = peers(bench.scratch, bench.asked.peers_python)
        systems = our_bundles(bench.scratch) + others
        take_turns(systems, threads, bench.asked.turns, CONTEXTS)
        found += rows(systems, threads, others, CONTEXTS)
    for name in missing:
        print(f"left out, not installed: {name}", file=sys.stderr)
    about = {"left_out": missing, "turns": bench.asked.turns, "decoded": DECODED, "machine": machine()}
    bench.write({"rows": found, **about})


if __name__ == "__main__":
    main()

"""Our four and eight bits beside those of other systems, on the 0.5b shape with random weights.

    python benchmarks/peers.py runs/peers --out benchmarks/results/peers.json --peers-python PEERS/bin/python

Ours carries the phantom dimension, theirs is the plain Qwen2 decoder of that shape. Every system is a process of its
own and they take turns, so what else the machine does meets all; a ratio is the median over the turns. Each turn reads
a prompt into an empty cache and decodes some tokens after it; choosing them is in all times. Others run with the
interpreter given, in whose environment they are installed (onnxruntime-genai with transformers and torch;
llama-cpp-python with gguf); those that are not are left out and named.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from phantom_edge.convert.random import write_random
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.target import Settings
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe, read_recipe

HERE = Path(__file__).parent
ETA = 1e-4
CONTEXTS, DECODED, TURNS = (256, 1792), 12, 5
PEERS = {"genai": ("onnxruntime-genai, int4", "onnxruntime_genai"), "llama": ("llama.cpp, Q4_0", "llama_cpp")}
DECODER = ("decoder", "embedding", "head")
OURS: dict[str, tuple[Recipe, Settings]] = {
    "phantom-edge, int4-g32": (Recipe(dict.fromkeys(DECODER, "int4-g32")), Settings()),
    "phantom-edge, int4-g32, int8 cache": (Recipe(dict.fromkeys(DECODER, "int4-g32")), Settings(cache="int8")),
    "phantom-edge, int4-g128": (Recipe(dict.fromkeys(DECODER, "int4-g128")), Settings()),
    "phantom-edge, int8": (read_recipe("int8"), Settings()),
}


@dataclass
class System:
    """What runs a model, and what was measured of it."""

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
        files = [self.model] if self.model.is_file() else list(self.model.iterdir())
        return sum(file.stat().st_size for file in files if not file.name.startswith("vision")) / 1e6


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
    """What a process says to a question, or first of all."""
    assert running.stdin is not None and running.stdout is not None
    if question:
        running.stdin.write(json.dumps(question) + "\n")
        running.stdin.flush()
    line = running.stdout.readline()
    if not line:
        raise SystemExit(f"{running.args} ended with {running.wait()}; see the log beside its model")
    found: dict[str, Any] = json.loads(line)
    return found


def take_turns(systems: list[System], threads: int, turns: int) -> None:
    """Measure all at a number of threads."""
    with ExitStack() as stack:
        running = [(system, stack.enter_context(process(system, threads))) for system in systems]
        for turn in range(-1, turns):  # the first is not counted
            for context in CONTEXTS if turn >= 0 else CONTEXTS[:1]:
                for system, one in running:
                    found = answer(one, prompt=context, decode=DECODED)
                    system.peak_megabytes = found["peak"]
                    if turn >= 0:
                        system.prompts.setdefault(context, []).append(context / found["prompt_seconds"])
                        system.steps.setdefault(context, []).append(1 / median(found["step_seconds"]))
                    print(threads, turn, context, system.name, found["prompt_seconds"], file=sys.stderr)


def our_bundles(scratch: Path) -> list[System]:
    """Made unless they are there."""
    model, found = scratch / "model", []
    if not model.is_dir():
        write_random(SIZES["0.5b"], model, seed=0, dtype=torch.float16, eta=ETA)
    for name, (recipe, settings) in OURS.items():
        bundle = scratch / name.split(", ", 1)[1].replace(", ", "-").replace(" ", "-")
        if not bundle.is_dir():
            quantized = scratch / f"{recipe.parts['decoder']}.quantized"
            if not quantized.is_dir():
                quantize_checkpoint(model, recipe, quantized, name=name)
            export_bundle(str(quantized), "onnx", bundle, settings, prove=False)
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


def rows(systems: list[System], threads: int) -> list[dict[str, Any]]:
    """What was measured, each with the ratio to the faster of the others."""
    found = []
    others = [system for system in systems if system.kind != "ours"]
    for system in systems:
        row: dict[str, Any] = {
            "system": system.name,
            "threads": threads,
            "megabytes": round(system.megabytes),
            "load_seconds": round(system.load_seconds, 2),
            "peak_megabytes": system.peak_megabytes,
        }
        for context in CONTEXTS:
            for what, speeds in (("prefill", "prompts"), ("decode", "steps")):
                own = getattr(system, speeds)[context]
                row[f"{what}_{context}"] = round(median(own), 1)
                if others:
                    best = [max(getattr(other, speeds)[context][turn] for other in others) for turn in range(len(own))]
                    ratio = median(mine / theirs for mine, theirs in zip(own, best, strict=True))
                    row[f"{what}_{context}_ratio"] = round(ratio, 2)
        found.append(row)
    return found


def main() -> None:
    """Make what is missing, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peers-python", default=sys.executable)
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    measured, missing = [], []
    for threads in options.threads:
        others, missing = peers(options.scratch, options.peers_python)
        systems = our_bundles(options.scratch) + others
        take_turns(systems, threads, options.turns)
        measured += rows(systems, threads)
    for name in missing:
        print(f"left out, not installed: {name}", file=sys.stderr)
    document = {
        "rows": measured,
        "left_out": missing,
        "turns": options.turns,
        "decoded": DECODED,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    show(measured)


def show(measured: list[dict[str, Any]]) -> None:
    """A table: tokens a second, and beside them the ratio to the faster of the others."""
    names = [f"{what}_{context}" for context in CONTEXTS for what in ("prefill", "decode")]
    table = Table("system", "threads", "MB", "load, s", "peak, MB", *(name.replace("_", " at ") for name in names))
    for row in measured:
        speeds = [
            f"{row[name]:g}" + (f" ({row[f'{name}_ratio']:g}x)" if f"{name}_ratio" in row else "") for name in names
        ]
        table.add_row(
            row["system"],
            str(row["threads"]),
            str(row["megabytes"]),
            str(row["load_seconds"]),
            str(row["peak_megabytes"]),
            *speeds,
        )
    Console(width=180).print(table)


if __name__ == "__main__":
    main()

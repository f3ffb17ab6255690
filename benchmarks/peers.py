"""Our four and eight bits beside those of other systems, on the 0.5b shape with random weights.

    python -m benchmarks.peers --out benchmarks/results/peers.json --peers-python PEERS/bin/python

Ours carries the phantom dimension, theirs is the plain Qwen2 decoder of that shape. Every system is a process of its
own and they take turns, so what else the machine does meets all; a ratio is the median over the turns, to the fastest
of the others with blocks of 32, and to onnxruntime-genai with the same blocks. Each turn reads a prompt into an empty
cache and decodes some tokens after it; choosing them is in all times. Others run with the interpreter given, in whose
environment they are installed (onnxruntime-genai with transformers, torch, onnx and onnx-ir; llama-cpp-python with
gguf); those that are not are left out and named. ``--only-make`` makes the models, and measures no speed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Bench, begin, edge, in_turns, machine, megabytes, ratio
from benchmarks.materials import checkpoint, quantized
from phantom_edge.bundle.folder import read_manifest
from phantom_edge.bundle.part import Part
from phantom_edge.foundation import huge_pages
from phantom_edge.quantize.recipe import Recipe, read_recipe

HERE = Path(__file__).parent
CONTEXTS, DECODED, TURNS = (256, 1792), 12, 5
FOUR, GROUPED = (Recipe(dict.fromkeys(("decoder", "embedding", "head"), f"int4-g{group}")) for group in (32, 128))
POSITIVE = Recipe(dict.fromkeys(FOUR.parts, "int4-g32-pos"))  # XNNPACK takes no other scales
TWO_FORMS = Recipe(FOUR.parts | {"decoder": "int4-g32-exact8"})


@dataclass(frozen=True)
class Peer:
    """Another system: its name, module, and the block of its four bits, and bits of its head."""

    name: str
    kind: str
    module: str
    block: int
    head: int


PEERS = (
    Peer("onnxruntime-genai, blocks of 32", "genai", "onnxruntime_genai", 32, 4),
    Peer("onnxruntime-genai, blocks of 128", "genai", "onnxruntime_genai", 128, 4),
    Peer("llama.cpp, Q4_0", "llama", "llama_cpp", 32, 8),
)


@dataclass(frozen=True)
class Ours:
    """A bundle to be."""

    name: str
    target: str
    recipe: Recipe
    options: tuple[str, ...] = ()
    block: int = 0

    @property
    def folder(self) -> str:
        """The folder of its bundle."""
        return self.name.replace(", ", "-").replace(" ", "-")


OURS = (
    Ours("onnx, int4-g32", "onnx", FOUR, block=32),
    Ours("onnx, int4-g32, int8 cache", "onnx", FOUR, ("--cache", "int8"), block=32),
    Ours("onnx, int4-g32-exact8", "onnx", TWO_FORMS, block=32),
    Ours("onnx, int4-g128", "onnx", GROUPED, block=128),
    Ours("onnx, int8", "onnx", read_recipe("int8")),
    Ours("executorch, int4-g32", "executorch", POSITIVE, ("--no-self-test",), block=32),
    Ours("litert, int4-g32", "litert", POSITIVE, block=32),
)


@dataclass
class System:
    """An engine, and its measurements."""

    name: str
    kind: str
    model: Path
    python: str
    megabytes: float = 0.0
    block: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    load_seconds: float = 0.0
    memory: dict[str, int] = field(default_factory=dict)
    prompts: dict[int, list[float]] = field(default_factory=dict)
    steps: dict[int, list[float]] = field(default_factory=dict)


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
            for system in systems:
                system.steps[context] = []  # of other numbers of threads

            def seconds(number: int, context: int = context) -> float:
                system = systems[number]
                found = answer(running[system.name], prompt=context, decode=DECODED)
                system.memory = found["memory"]
                system.steps[context].append(1 / median(found["step_seconds"]))
                print(threads, context, system.name, found["prompt_seconds"], file=sys.stderr)
                return float(found["prompt_seconds"])

            for number, times in in_turns(range(len(systems)), seconds, turns + 1).items():
                systems[number].prompts[context] = [context / one for one in times[1:]]  # the first is not counted
                del systems[number].steps[context][0]


def rows(
    systems: list[System], threads: int, bases: list[System], contexts: Sequence[int], equal: Sequence[System] = ()
) -> list[dict[str, Any]]:
    """The measurements; ratios to the fastest of ``bases``, and to the one of ``equal`` that has the same block."""
    found = []
    for system in systems:
        row: dict[str, Any] = {
            "system": system.name,
            "threads": threads,
            **system.about,
            "megabytes": round(system.megabytes),
            "load_seconds": round(system.load_seconds, 2),
            **system.memory,
        }
        same = [one for one in equal if one.block == system.block and one is not system]
        for context in contexts:
            for what, speeds in (("prefill", "prompts"), ("decode", "steps")):
                own, name = getattr(system, speeds)[context], f"{what}_{context}"
                row[name] = round(median(own), 1)
                row[f"{name}_range"] = [round(end(own), 1) for end in (min, max)]
                for against, others in (("ratio", bases), ("ratio_equal", same)):
                    if others:
                        best = [
                            max(turn) for turn in zip(*(getattr(one, speeds)[context] for one in others), strict=True)
                        ]
                        row[f"{name}_{against}"] = round(ratio(own, best), 2)
        found.append(row)
    return found


def export(one: Ours, scratch: Path) -> dict[str, Any]:
    """Make a bundle in a process of its own; returns seconds and peak memory."""
    integers = quantized(
        checkpoint("0.5b", scratch / "model"), one.recipe, scratch / f"{one.recipe.parts['decoder']}.q"
    )
    words = ["--target", one.target, "--out", scratch / one.folder, "--no-verify", "--force", *one.options]
    return edge("export", integers, *words)


def words(bundle: Path) -> list[Part]:
    """The parts of a bundle but for the vision tower, which the others do not have."""
    return [part for name, part in read_manifest(bundle).parts.items() if name != "vision"]


def our_bundles(bench: Bench) -> list[System]:
    """Made unless they are there."""
    kinds, found = {"onnx": "ours", "executorch": "program", "litert": "litert"}, []
    for one in OURS:
        took, bundle = bench.once(one.folder, lambda one=one: export(one, bench.scratch)), bench.scratch / one.folder  # type: ignore[misc]
        about = {"block": one.block, "head": 4 if one.block else 8, "export_minutes": round(took["seconds"] / 60, 1)}
        name = f"phantom-edge, {one.name}"
        size = sum(sum(part.weight_bytes.values()) for part in words(bundle)) / 1e6
        found.append(System(name, kinds[one.target], bundle, sys.executable, size, one.block, about))
    return found


def peers(scratch: Path, python: str) -> tuple[list[System], list[str]]:
    """Those that are installed, with their models, and the names of those that are not."""
    found, missing = [], []
    for peer in PEERS:
        if subprocess.run([python, "-c", f"import {peer.module}"], capture_output=True).returncode:
            missing.append(peer.name)
            continue
        place = scratch / ("llama.gguf" if peer.kind == "llama" else f"{peer.kind}-{peer.block}")
        if not place.exists():
            command = [python, str(HERE / "peers_models.py"), peer.kind, str(place), str(peer.block)]
            subprocess.run(command, check=True)
        about = {"block": peer.block, "head": peer.head}
        found.append(System(peer.name, peer.kind, place, python, megabytes(place), peer.block, about))
    return found, missing


def main() -> None:
    """Make what is missing, measure, and write."""
    bench = begin("peers", __doc__, turns=TURNS, threads=[1, 2], peers_python=sys.executable, only_make=False)
    found: list[dict[str, Any]] = [
        row for row in bench.before().get("rows", []) if row["threads"] not in bench.asked.threads
    ]
    load = os.getloadavg()[0]
    ours, (others, missing) = our_bundles(bench), peers(bench.scratch, bench.asked.peers_python)
    for name in missing:
        print(f"left out, not installed: {name}", file=sys.stderr)
    if bench.asked.only_make:
        return
    for threads in bench.asked.threads:
        systems = ours + others
        take_turns(systems, threads, bench.asked.turns, CONTEXTS)
        thirty_two, genai = ([one for one in others if is_base(one)] for is_base in (_has_32, _is_genai))
        found += rows(systems, threads, thirty_two, CONTEXTS, genai)
    about = {"left_out": missing, "turns": bench.asked.turns, "decoded": DECODED, "machine": machine()}
    bench.write({"rows": found, **about, "load_before": round(load, 1), "huge_pages": huge_pages.mode()})


def _has_32(system: System) -> bool:
    return system.block == 32


def _is_genai(system: System) -> bool:
    return system.kind == "genai"


if __name__ == "__main__":
    main()

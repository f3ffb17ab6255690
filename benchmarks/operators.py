"""Where the time of a step goes, and whether it is gone where the phantom dimension is left out.

    python benchmarks/operators.py nano 0.5b --scratch runs/operators --out benchmarks/results/operators.json

Bundles by the shipped recipe of four bits for ONNX Runtime, one thread: with the ranks that are chosen, with the whole
phantom dimension, and without its maps. Each is profiled; then all take turns at a token, so that what else the machine
does hits all alike.
``nano`` is the model inside, other sizes have random weights.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.node_names import PHANTOM
from phantom_edge.bundle.part import Part
from phantom_edge.convert.random import write_random
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.target import Settings
from phantom_edge.models.hub import find_folder
from phantom_edge.models.sizes import SIZES
from phantom_edge.profile.measure.host import profile_here
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.report.sharing import accounted, shares_of
from phantom_edge.profile.result import Run
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

FORMS = {"auto": "rank=auto", "full": "full", "none": "rank=0"}
DEPTHS = (64, 1024)
ETA = 1e-4
WISH = Wish(repeats=3, tokens=2, threads=1, depths=DEPTHS)


class Decoder(OrtEngine):
    """OrtEngine without eyes."""

    def _loaded(self, bundle: Bundle, part: Part, fed: set[str]) -> Any:
        return None if "pixel_values" in fed else super()._loaded(bundle, part, fed)


def bundles(size: str, scratch: Path) -> dict[str, Path]:
    """By form, made unless they are there."""
    integers, found = scratch / f"{size}.quantized", {}
    if not integers.is_dir():
        model = find_folder("nano") if size == "nano" else scratch / size
        if size != "nano":
            write_random(SIZES[size], model, seed=0, dtype=torch.float16, eta=ETA)
        quantize_checkpoint(model, read_recipe("int4"), integers, name="int4")
    for form, phantom in FORMS.items():
        found[form] = scratch / f"{size}-{form}"
        if not found[form].is_dir():
            export_bundle(str(integers), "onnx", found[form], Settings(phantom=phantom), prove=False)
    return found


def take_turns(paths: dict[str, Path], turns: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a token, by form and depth."""
    engines = {form: Decoder(Bundle.open(path), WISH.threads) for form, path in paths.items()}
    row, zero = next(iter(engines.values())).embed(np.array([0])), np.array([0])
    found: dict[str, dict[str, float]] = {form: {} for form in engines}
    for engine in engines.values():
        for rows in engine.cache.values():
            rows.fill(0)
    for depth in DEPTHS:
        seconds: dict[str, list[float]] = {form: [] for form in engines}
        for _ in range(turns):
            for form, engine in engines.items():
                engine.forward(row, depth, zero)  # brings its weights back to where the last one's are
                start = time.perf_counter()
                engine.forward(row, depth, zero)
                seconds[form].append(time.perf_counter() - start)
        for form, times in seconds.items():
            found[form][str(depth)] = round(1e3 * median(times), 4)
    return found


def row_of(size: str, form: str, run: Run) -> dict[str, Any]:
    """What a profile found."""
    steps: dict[str, dict[str, float]] = {}
    for one in shares_of(run):
        steps.setdefault(one.part, {})[one.place] = round(1e3 * one.seconds, 4)
    inside = {part: round(share, 4) for part, share in accounted(run).items()}
    return {"size": size, "form": form, "widened": round(run.widened, 4), "milliseconds": steps, "inside": inside}


def show(document: dict[str, Any]) -> None:
    """As tables on stderr."""
    table = Table("size", "maps", "step", "place", "ms", title="Where the time goes")
    for row in document["rows"]:
        for step, places in row["milliseconds"].items():
            for place, took in places.items():
                table.add_row(row["size"], row["form"], step, place, f"{took:,.3f}")
    Console(stderr=True).print(table)


def main(arguments: Sequence[str]) -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", choices=sorted(SIZES))
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=40)
    asked = parser.parse_args(arguments)
    asked.scratch.mkdir(parents=True, exist_ok=True)
    rows, turns = [], {}
    for size in asked.sizes:
        paths = bundles(size, asked.scratch)
        for form, path in paths.items():
            rows.append(row_of(size, form, profile_here(path, WISH, lambda _what, _total: lambda _step: None)))
        turns[size] = take_turns(paths, asked.turns)
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    document = {"machine": machine, "threads": WISH.threads, "phantom": PHANTOM, "rows": rows, "turns": turns}
    show(document)
    asked.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

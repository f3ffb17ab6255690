"""Time of a step by operator, with and without the phantom dimension.

    python -m benchmarks.operators nano 0.5b

Bundles by the shipped recipe of four bits for ONNX Runtime, one thread: with the ranks that are chosen, with the whole
phantom dimension, and without its maps. Each is profiled; then all take turns at a token, so that what else the machine
does hits all alike.
``nano`` is the model inside, other sizes have random weights.
"""

import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import begin, in_turns, machine
from benchmarks.materials import checkpoint, quantized
from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.node_names import PHANTOM
from phantom_edge.bundle.part import Part
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.progress import no_progress
from phantom_edge.models.sizes import SIZES
from phantom_edge.profile.measure.host import profile_here
from phantom_edge.profile.measure.stages import Wish
from phantom_edge.profile.report.sharing import accounted, shares_of
from phantom_edge.profile.result import Run

FORMS = {"auto": "rank=auto", "full": "full", "none": "rank=0"}
DEPTHS = (64, 1024)
WISH = Wish(repeats=3, tokens=2, threads=1, depths=DEPTHS)


class Decoder(OrtEngine):
    """OrtEngine without eyes."""

    def _loaded(self, bundle: Bundle, part: Part, fed: set[str]) -> Any:
        return None if "pixel_values" in fed else super()._loaded(bundle, part, fed)


def bundles(size: str, scratch: Path) -> dict[str, Path]:
    """By form, made unless they are there."""
    integers = quantized(checkpoint(size, scratch / size), "int4", scratch / f"{size}.quantized")
    found = {form: scratch / f"{size}-{form}" for form in FORMS}
    for form, bundle in found.items():
        if not bundle.is_dir():
            export_bundle(str(integers), "onnx", bundle, Settings(phantom=FORMS[form]), prove=False)
    return found


def take_turns(paths: dict[str, Path], turns: int) -> dict[str, dict[str, float]]:
    """Milliseconds of a token, by form and depth."""
    engines = {form: Decoder(Bundle.open(path), WISH.threads) for form, path in paths.items()}
    row, zero = next(iter(engines.values())).embed(np.array([0])), np.array([0])
    for engine in engines.values():
        for rows in engine.cache.values():
            rows.fill(0)

    def seconds(form: str, depth: int) -> float:
        engines[form].forward(row, depth, zero)  # brings its weights back to where the last one's are
        start = time.perf_counter()
        engines[form].forward(row, depth, zero)
        return time.perf_counter() - start

    times = {depth: in_turns(list(engines), partial(seconds, depth=depth), turns) for depth in DEPTHS}
    return {form: {str(depth): round(1e3 * median(times[depth][form]), 4) for depth in DEPTHS} for form in engines}


def row_of(size: str, form: str, run: Run) -> dict[str, Any]:
    """The row of a profile."""
    steps: dict[str, dict[str, float]] = {}
    for one in shares_of(run):
        steps.setdefault(one.part, {})[one.place] = round(1e3 * one.seconds, 4)
    inside = {part: round(share, 4) for part, share in accounted(run).items()}
    return {"size": size, "form": form, "widened": round(run.widened, 4), "milliseconds": steps, "inside": inside}


def main() -> None:
    """Measure, and write what was found."""
    bench = begin("operators", __doc__, {"dest": "sizes", "nargs": "+", "choices": sorted(SIZES)}, turns=40)
    rows, turns = [], {}
    for size in bench.asked.sizes:
        paths = bundles(size, bench.scratch)
        rows += [row_of(size, form, profile_here(path, WISH, no_progress)) for form, path in paths.items()]
        turns[size] = take_turns(paths, bench.asked.turns)
    bench.write({"machine": machine(), "threads": WISH.threads, "phantom": PHANTOM, "rows": rows, "turns": turns})


if __name__ == "__main__":
    main()

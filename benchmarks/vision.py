"""A tile: the vision tower and projector of a bundle for ONNX Runtime by the numbers that it computes with.

    python -m benchmarks.vision --out benchmarks/results/vision.json

One thread, whose CPU time counts. The sessions of a shape take turns, so that other load meets all alike; a ratio is
float32's time over another's, the median over the turns. *int8* finds the scales of activations row by row while it
runs; *w8a8* has those of linear layers from calibration, and finds those of attention. ``phantom-nano`` is the model
inside (224 px); the tower of the released models (448 px, 24 layers) has random weights, before a decoder of one layer.
"""

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import Bench, begin, edge, in_turns, machine, ratio
from benchmarks.materials import checkpoint, quantized, scenes
from phantom_edge.export.sessions import open_session
from phantom_edge.models.shipped import NAME
from phantom_edge.models.sizes import SIZES, Size
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.recipe import Recipe, read_recipe

SHAPES: dict[str, str | Size] = {NAME: NAME, "0.5b": replace(SIZES["0.5b"], layers=1)}
FORMS = ("fp32", "int8", "w8a8")
TILES = 7
"""Tiles of a large picture: six and the thumbnail."""


def recipe(form: str) -> Recipe:
    """Eight bits everywhere; of ``w8a8`` the vision's activations, too, by calibration."""
    plain = read_recipe("int8")
    return plain if form == "int8" else replace(plain, parts={**plain.parts, "vision": form, "projector": form})


def bundle_of(shape: str, form: str, bench: Bench) -> Path:
    """The bundle, made unless it is there."""
    out = bench.scratch / f"{shape}-{form}"
    if not out.is_dir():
        model = checkpoint(SHAPES[shape], bench.scratch / shape)
        if form != "fp32":
            calibration = None
            if form == "w8a8":
                side, pictures = SIZES[shape].vision.image, bench.asked.calibrate
                drawn = scenes(bench.scratch / f"scenes-{side}", pictures, "train", size=side)
                calibration = Calibration(drawn, samples=pictures)
            model = quantized(model, recipe(form), bench.scratch / f"{shape}-{form}.quantized", calibration)
        edge("export", model, "--target", "onnx", "--max-context", 512, "--no-verify", "--out", out)
    return out


def measure(shape: str, bench: Bench) -> dict[str, Any]:
    """Milliseconds of a tile by form, and ratios to float32."""
    engines = {form: open_session(bundle_of(shape, form, bench), 1).engine for form in FORMS}
    side = SIZES[shape].vision.image
    pixels = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)

    def turn(form: str) -> float:
        start = time.process_time()
        engines[form].encode_images(pixels)
        return time.process_time() - start

    found = {form: times[1:] for form, times in in_turns(FORMS, turn, bench.asked.turns + 1).items()}
    return {
        "pixels": side,
        "milliseconds": {form: round(1e3 * median(times), 1) for form, times in found.items()},
        "ratio": {form: round(ratio(found["fp32"], times), 2) for form, times in found.items()},
    }


def main() -> None:
    """Measure what is not yet measured, and write."""
    bench = begin("vision", __doc__, turns=15, calibrate=8, only=list[str]())
    known = dict(bench.before().get("rows", {}))
    for shape in bench.asked.only or SHAPES:
        known[shape] = bench.once(shape, partial(measure, shape, bench), again=bool(bench.asked.only))
    rows = {shape: known[shape] for shape in SHAPES if shape in known}
    bench.write({"machine": machine(), "tiles": TILES, "rows": rows})


if __name__ == "__main__":
    main()

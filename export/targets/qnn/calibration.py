"""Calibration of ranges: runs the graphs in float32 over questions about pictures with their right answers."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phantom_edge.bundle.fixed_shapes import FixedShapes
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.lower import port_of
from phantom_edge.export.targets.qnn.decoder import MASKED, MIXED, SCORES, WHICH, Balance, DecoderDrawing, HeadDrawing
from phantom_edge.export.targets.qnn.fixed_point import HIGH, LOW, FixedDrawing, Range
from phantom_edge.export.targets.qnn.host import HeadLayout
from phantom_edge.export.targets.qnn.vision import VisionDrawing
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.quantize.calibration import MAKE, Sample, embedded
from phantom_edge.reference import Reference
from phantom_edge.runtime.steps import Arrays, Steps

TILES = 32
"""Maximum number of tiles."""

FIRST = 4
"""Number of samples by which phantom halves are balanced, before the run over all."""

CHUNK = 16
"""Number of tokens per step: few, so that most of them attend to cached rows, too."""

UNSEEN = -1e4
"""Mask of a score in float32, where its size costs nothing."""

BEYOND = 16.0
"""Distance of a masked score below all others, in nats: its weight is less than one level."""

Found = dict[str, Range]


@dataclass(frozen=True)
class Calibrated:
    """Calibration of graphs in fixed point; ``masked`` is their mask of a score."""

    ranges: Found
    balances: tuple[Balance, ...]
    masked: float

    def document(self) -> dict[str, Any]:
        """Returns a JSON document."""
        return {
            "ranges": {name: [one.low, one.high] for name, one in self.ranges.items()},
            "balances": [[one.key, one.value] for one in self.balances],
            "masked": self.masked,
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Calibrated":
        """Reads the result of ``document``."""
        return cls(
            {name: Range(*ends) for name, ends in document["ranges"].items()},
            tuple(Balance(*one) for one in document["balances"]),
            document["masked"],
        )


class Watched:
    """A graph in float32 that returns ranges; ``found`` are those of all runs."""

    def __init__(self, drawing: FixedDrawing, folder: Path, found: Found) -> None:
        ort = need_onnx_runtime()
        self.found, self.outputs = found, [value.name for value in drawing.outputs]
        drawing.output_ranges()
        path = folder / f"{drawing.name}.onnx"
        drawing.save(path, f"{drawing.name}.data")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")  # no activation is rounded
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.names = [one.name for one in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        found = dict(zip(self.names, self.session.run(None, dict(inputs)), strict=True))
        for name in self.names:
            if name.startswith(LOW):
                known = name.removeprefix(LOW)
                low, high = float(found[name]), float(found[f"{HIGH}{known}"])
                if not (math.isfinite(low) and math.isfinite(high)):
                    raise EdgeError(f"tensor {known} is NaN or infinite in calibration", f"try other data; {MAKE}")
                new = Range(min(low, 0.0), max(high, 0.0))
                self.found[known] = self.found[known] | new if known in self.found else new
        return {name: found[name] for name in self.outputs}


def steps(source: Source, samples: Sequence[Sample]) -> int:
    """Returns the number of steps of a calibration."""
    return len(_tiles(samples)) + FIRST + len(samples)


def calibrate(
    source: Source,
    forms: Sequence[LayerForm],
    context: int,
    samples: Sequence[Sample],
    folder: Path,
    step: Callable[[int], None] = lambda _: None,
) -> Calibrated:
    """Measures ranges of vision and decoder; ``step`` counts tiles and samples. ``folder`` holds temporary graphs.

    Raises EdgeError where there are no pictures, and where a tensor is not finite.
    """
    assert source.integers is not None
    tiles = _tiles(samples)
    if not tiles:
        raise EdgeError("target qnn is calibrated on pictures, and there are none", MAKE)
    found: Found = {}
    text = source.config.text
    drawing = VisionDrawing(source.config, source.read, source.integers, None)
    with TemporaryDirectory(dir=folder) as place:
        vision = Watched(drawing, Path(place), found)
        for tile in tiles:
            vision.run({"pixel_values": tile[None].numpy()})
            step(1)
    del vision
    prompts = [prompt[:context].numpy() for prompt in embedded(Reference(source), samples)]
    balances = (Balance(),) * len(forms)
    measure = partial(_decoder_ranges, source, source.integers, forms, context, folder, step)
    balances = _balanced(*measure(balances, prompts[:FIRST]))
    read, _ = measure(balances, prompts)
    ranges = {name: one.wider() for name, one in (found | read).items()}
    return _settled(ranges, balances, max(float(table.abs().max()) for table in constant_tables(text, context)))


def _tiles(samples: Sequence[Sample]) -> list[torch.Tensor]:
    """Returns distinct tiles, TILES at most."""
    every = (tile for sample in samples if sample.pixels is not None for tile in sample.pixels)
    tiles = list({hashlib.sha256(tile.numpy().tobytes()).digest(): tile for tile in every}.values())
    return tiles[:: max(-(-len(tiles) // TILES), 1)]


def _decoder_ranges(
    source: Source,
    integers: QuantizedFiles,
    forms: Sequence[LayerForm],
    context: int,
    folder: Path,
    step: Callable[[int], None],
    balances: Sequence[Balance],
    prompts: Sequence[NDArray[np.float32]],
) -> tuple[Found, DecoderDrawing]:
    """Returns ranges of the decoder's tensors over ``prompts``, and the drawing."""
    text, found = source.config.text, Found()
    chunk = min(CHUNK, context)
    drawing = DecoderDrawing(
        text, forms, source.read, integers, None, balances, tokens=chunk, context=context, has_head=False
    )
    ports = [port_of(one) for one in drawing.inputs]
    tables = np.stack([table.numpy() for table in constant_tables(text, context)])
    fixed, layout = FixedShapes("", UNSEEN, text.sliding_window), HeadLayout(drawing.groups)
    with TemporaryDirectory(dir=folder) as place:
        prefill = Watched(drawing, Path(place), found)
        head = Watched(HeadDrawing(text, source.read, integers, None, chunk), Path(place), found)
        for prompt in prompts:
            loop = Steps({"prefill": prefill, "head": head}, ports, layout, fixed, chunk, tables)
            for start in range(0, len(prompt), chunk):
                head.run({"hidden": loop.step("prefill", prompt[start : start + chunk], start, chunk)["hidden"]})
            step(1)
    return found, drawing


def _balanced(found: Found, drawing: DecoderDrawing) -> tuple[Balance, ...]:
    """Returns factors that make both halves of queries, keys and values as equally large as possible."""
    layers = sorted({layer for layer, _ in drawing.halves})

    def ratio(layer: int, what: str) -> float:
        """Returns the size of a phantom half relative to its plain half."""
        if (layer, what) not in drawing.halves:
            return 1.0
        plain, phantom = (max(found[name].size, 1e-12) for name in drawing.halves[layer, what])
        return phantom / plain

    by_layer = {
        layer: Balance(math.sqrt(ratio(layer, "key") / ratio(layer, "query")), 1 / ratio(layer, "value"))
        for layer in layers
    }
    return tuple(by_layer.get(layer, Balance()) for layer in range(drawing.config.num_hidden_layers))


def _settled(ranges: Found, balances: tuple[Balance, ...], turn: float) -> Calibrated:
    """Gives one range to tensors of one meaning, and known ranges to masked scores and tables of rotations.

    ``turn`` is the largest number of the tables: some models scale them.
    """
    layers = range(len(balances))
    for layer in layers:
        for what in (SCORES, MIXED):
            names = [f"layer.{layer}.{what}", *(f"layer.{layer}.{what}_{which}" for which in WHICH)]
            whole = ranges[names[0]]
            for name in names[1:]:
                whole |= ranges[name]
            ranges |= dict.fromkeys(names, whole)
    masked = -max(one.high - one.low for one in (ranges[f"layer.{layer}.{SCORES}"] for layer in layers)) - BEYOND
    for layer in layers:
        scores = ranges[f"layer.{layer}.{SCORES}"]
        ranges[f"layer.{layer}.{MASKED}"] = Range(scores.low + masked, scores.high)
    ranges["mask"] = Range(masked, 0.0)
    ranges |= dict.fromkeys(("cosines", "sines"), Range(-turn, turn))
    return Calibrated(ranges, balances, masked)

"""Error of every layer: the simulator's hidden states compared with those of torch."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import Layer
from phantom_edge.export.targets.qnn.engine import layout_of, open_session
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.export.targets.qnn.fixed_point import ROUNDED
from phantom_edge.reference import Reference, place_of, through
from phantom_edge.runtime.engine import Floats
from phantom_edge.runtime.steps import Arrays, Steps, rotary_of

MOST = 200.0
"""Maximum decibels in reports."""


def measure_layers(
    bundle: Bundle, reference: Reference, pixels: Floats, embeds: Floats, done: Callable[[], None] = lambda: None
) -> tuple[Layer, ...]:
    """Measures the tower over a tile (1, 3, S, S), and the decoder over the first chunk of a prompt (N, hidden).

    Returns layers, the worst first; ``done`` is called after each part.
    """
    found = []
    parts = (("vision", _tower(bundle, reference, pixels)), ("prefill", _decoder(bundle, reference, embeds)))
    for part, layers in parts:
        found += [Layer(part, number, decibels(ours, theirs)) for number, (ours, theirs) in enumerate(layers)]
        done()
    return tuple(sorted(found, key=lambda one: -math.inf if one.decibels is None else one.decibels))


def decibels(found: NDArray[np.floating], wanted: NDArray[np.floating]) -> float | None:
    """Returns signal to noise; ``MOST`` for equal arrays, None where a number is not finite."""
    noise = float(np.square(found.astype(np.float64) - wanted).mean())
    signal = float(np.square(wanted.astype(np.float64)).mean())
    if not (math.isfinite(noise) and math.isfinite(signal)):
        return None
    return min(10 * math.log10(max(signal, 1e-30) / noise), MOST) if noise else MOST


Pairs = Iterator[tuple[NDArray[np.floating], NDArray[np.floating]]]


def _tower(bundle: Bundle, reference: Reference, pixels: Floats) -> Pairs:
    states: list[Tensor] = []
    tower = reference.vision_model().vision_tower
    hooks = [layer.register_forward_hook(lambda _m, _i, output: states.append(output)) for layer in tower.layers]
    reference.image_tokens(torch.from_numpy(pixels))
    for hook in hooks:
        hook.remove()
    reference.release_vision()
    graph = LayerOutputs(bundle, "vision", "vision.layer.")
    graph.run({"pixel_values": pixels})
    yield from zip(graph.layers, (state[0].numpy() for state in states), strict=True)


def _decoder(bundle: Bundle, reference: Reference, embeds: Floats) -> Pairs:
    chunk = embeds[: bundle.manifest.prefill_chunk]
    graph = LayerOutputs(bundle, "prefill", "layer.")
    ports, size, facts = bundle.manifest.parts["decoder"].inputs, bundle.manifest.prefill_chunk, graph.facts
    loop = Steps({"prefill": graph}, ports, layout_of(bundle), facts, size, rotary_of(bundle, facts))
    loop.step("prefill", chunk, 0, size)
    state = [torch.from_numpy(chunk)[None]]
    place = [place_of(reference.config.text, len(chunk))]
    with torch.no_grad():
        for layer, ours in zip(reference.source.layers("sdpa"), graph.layers, strict=True):
            state = through(layer, state, place)
            yield ours[: len(chunk)], state[0][0].numpy()


class LayerOutputs:
    """A part's graph, compiled again with every layer's output; ``layers`` are those of the last run."""

    def __init__(self, bundle: Bundle, part: str, start: str) -> None:
        self.facts = bundle.facts(HexagonFacts)
        path = bundle.file(bundle.manifest.parts[part].source)
        model = onnx.load(path, load_external_data=False)
        constants = {one.name: one for one in model.graph.initializer}
        made = {output for node in model.graph.node for output in node.output}
        names: list[str] = []
        while (name := f"{start}{len(names)}") + ROUNDED in made:
            names.append(name)
        kind = onnx.TensorProto.UINT16
        model.graph.output.extend(helper.make_tensor_value_info(f"{name}{ROUNDED}", kind, None) for name in names)
        self.encodings = {
            name: tuple(
                numpy_helper.to_array(constants[f"{name}.{what}"], str(path.parent)) for what in ("scale", "zero")
            )
            for name in names
        }
        entries = {"session.model_external_initializers_file_folder_path": str(path.parent)}
        self.session = open_session(model.SerializeToString(), self.facts.soc, self.facts.arch, entries=entries)
        self.outputs = [port.name for port in self.session.get_outputs()]
        self.layers: list[NDArray[np.floating]] = []

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        found = dict(zip(self.outputs, self.session.run(None, given), strict=True))
        self.layers = [
            (found.pop(f"{name}{ROUNDED}").astype(np.float32) - float(zero)) * scale
            for name, (scale, zero) in self.encodings.items()
        ]
        return found

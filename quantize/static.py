"""Vision tower and projector with the inputs of their layers rounded to 8 bits of a fixed scale (W8A8).

A fixed scale costs nothing at run time, and fixed-point hardware supports no other. A few channels of a large vision
tower are far larger than the rest and would leave these few levels: so where a norm stands before them, their scale
moves from the norm to the weights (SmoothQuant, arXiv 2211.10438).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from phantom_edge.checkpoint.quantized.inputs import ranged
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.vision import Projector, VisionLayer, VisionTower, pixel_shuffle
from phantom_edge.quantize.calibration import MAKE, Sample
from phantom_edge.quantize.layers import Layer, squares
from phantom_edge.quantize.rounding import check_range, nearest
from phantom_edge.reference import Reference

TILES = 32
"""Maximum number of tiles to calibrate on."""

ROWS = 1024
"""Rows of a layer's inputs on which the strengths of balancing are compared."""

STRENGTHS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""Migration strengths to try (SmoothQuant, equation 4), besides none."""

TOWER_PAIRS = {"attn.qkv": "norm1", "mlp.fc1": "norm2"}
TOWER_ALONE = ("attn.proj", "mlp.fc2")
"""Linear layers of the tower: those behind a norm, and the others."""

INPUT = "input"
"""Suffix of the tensor beside a weight in scratch files: scale and zero point of the layer's inputs."""


def is_static(schemes: Mapping[str, Scheme]) -> bool:
    """True where any weight's inputs have a fixed scale."""
    return any(scheme.static_inputs for scheme in schemes.values())


@torch.no_grad()
def quantize_static(
    source: Source, schemes: Mapping[str, Scheme], samples: Sequence[Sample], step: Callable[[int], None]
) -> Layer:
    """Quantizes all weights with fixed input scales; returns them with their scales, and the norms that changed.

    Raises EdgeError where there are no pictures, or where a layer's inputs are not finite.
    """
    tiles = list({tile.numpy().tobytes(): tile for s in samples if s.pixels is not None for tile in s.pixels}.values())
    if not tiles:
        raise EdgeError("w8a8 is calibrated on pictures, and there are none", MAKE)
    tiles = tiles[:: -(-len(tiles) // TILES)]
    model = Reference(source).vision_model()
    weights: dict[str, Quantized] = {}
    floats: dict[str, Tensor] = {}
    errors: dict[str, Tensor] = {}
    for start, block, states in _blocks(model.vision_tower, model.projector, torch.stack(tiles), source):
        pairs: dict[str, str | None] = {"fc1": "norm", "fc2": None}
        if isinstance(block, VisionLayer):
            pairs = {**TOWER_PAIRS, **dict.fromkeys(TOWER_ALONE)}
        wanted = {name: schemes[key] for name in pairs if (key := f"{start}{name}.weight") in schemes}
        wanted = {name: scheme for name, scheme in wanted.items() if scheme.static_inputs}
        for name, rows in _watched(block, wanted, states).items():
            if not bool(rows.isfinite().all()):
                raise EdgeError(f"{start}{name} reads NaN or infinity in calibration", f"try other data; {MAKE}")
            weight, norm, key = block.get_parameter(f"{name}.weight").detach(), pairs[name], f"{start}{name}.weight"
            check_range(key, weight)
            if norm is not None:
                scale = balance(rows, weight, wanted[name])
                for part in ("weight", "bias"):
                    floats[f"{start}{norm}.{part}"] = block.get_parameter(f"{norm}.{part}").detach() / scale
                rows, weight = rows / scale, weight * scale
            weights[key] = nearest(weight, wanted[name])
            errors[key] = squares(weights[key], weight)
            about = ranged(rows)
            floats[f"{key}.{INPUT}"] = torch.tensor([about.scale, float(about.zero_point)])
        step(1)
    return Layer(weights, floats, errors)


def steps(source: Source) -> int:
    """Number of blocks: the tower's layers, and the projector."""
    return int(source.config.vision.num_hidden_layers) + 1


def _blocks(
    tower: VisionTower, projector: Projector, tiles: Tensor, source: Source
) -> Iterator[tuple[str, VisionLayer | Projector, list[Tensor]]]:
    """Every layer of the tower, and the projector: the prefix of its tensors' names, the module, and its inputs."""
    config = source.config
    layers, tower.layers = tower.layers, nn.ModuleList()
    states = [tower(tile[None]) for tile in tiles]
    for number, layer in enumerate(layers):
        assert isinstance(layer, VisionLayer)
        yield f"model.vision_tower.layers.{number}.", layer, states
        states = [layer(state) for state in states]
    side = config.vision.patches_per_side
    grids = [state[:, 1:].unflatten(1, (side, side)) for state in states]
    yield "model.projector.", projector, [pixel_shuffle(grid, config.pixel_block) for grid in grids]


def _watched(block: nn.Module, names: Mapping[str, Scheme], states: Sequence[Tensor]) -> dict[str, Tensor]:
    """Inputs of each linear layer: some ``ROWS`` rows of all states, and the least and largest of every channel."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    kept = -(-ROWS // len(states))

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0].flatten(0, -2)
            found[name] += [rows[:: -(-len(rows) // kept)], rows.amin(0, keepdim=True), rows.amax(0, keepdim=True)]

        return hook

    hooks = [block.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    for state in states:
        block(state)
    for one in hooks:
        one.remove()
    return {name: torch.cat(rows) for name, rows in found.items()}


def balance(rows: Tensor, weight: Tensor, scheme: Scheme) -> Tensor:
    """The scale of each channel of least error: ``rows`` are divided by it, and the weights multiplied."""
    largest, own = rows.abs().amax(0).clamp(min=1e-5), weight.abs().amax(0).clamp(min=1e-5)
    choices = [torch.ones_like(own)]
    for strength in STRENGTHS:
        scale = (largest**strength / own ** (1 - strength)).clamp(1e-4, 1e4)
        choices.append(scale / scale.log().mean().exp())
    exact = rows @ weight.T

    def off(scale: Tensor) -> float:
        rounded = nearest(weight * scale, scheme).dequantize()
        return float((ranged(rows / scale).rounded(rows / scale) @ rounded.T - exact).square().mean())

    return min(choices, key=off)

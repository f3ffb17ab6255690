"""Quantizes the decoder layer by layer, each on its inputs in calibration.

One layer is in memory at a time, and the hidden states of every sample before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.decoder import PhantomDecoderLayer
from phantom_edge.models.tensor_names import DECODER
from phantom_edge.quantize.calibration import MAKE, Sample, embedded
from phantom_edge.quantize.rounding import check_range, nearest
from phantom_edge.reference import Place, Reference, place_of, through

Solve = Callable[[Tensor, Scheme, Tensor | None], Quantized]

GRID = 20
"""Number of powers of the inputs' size to try as scales (AWQ, section 3.2; MBQ, section 4)."""

MATRICES = tuple(
    [f"self_attn.{part}_proj" for part in ("q", "k", "v", "o")]
    + [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
)


@dataclass(frozen=True)
class Block:
    """Matrices with the same inputs, which ``before`` can scale down while the matrices are scaled up.

    ``within`` is the module whose output error is compared.
    """

    within: str
    before: str
    matrices: tuple[str, ...]


BLOCKS = (
    Block("self_attn", "input_layernorm", ("q_proj", "k_proj", "v_proj")),
    Block("mlp", "post_attention_layernorm", ("gate_proj", "up_proj")),
    Block("mlp", "mlp.up_proj", ("down_proj",)),
)
"""``o_proj`` is in no block: its inputs come through the phantom branch and a gate, which are not linear."""


@dataclass(frozen=True)
class Weigher:
    """Weight of an error of a block's output: ``grows`` is its measure, to be weighted token by token and summed.

    ``weights`` maps (layer, within, kinds) to a weight for each token.
    """

    grows: Callable[[Tensor], Tensor]
    weights: Callable[[int, str, Tensor], Tensor]


def even(_layer: int, _within: str, kinds: Tensor) -> Tensor:
    """Weights all tokens alike."""
    return torch.ones(len(kinds))


@dataclass(frozen=True)
class Layer:
    """Result for one layer: its quantized weights, and the other tensors that changed.

    ``errors`` (2,): sums of squares of each weight's error and of the weight, after its inputs were scaled.
    """

    weights: dict[str, Quantized]
    floats: dict[str, Tensor]
    errors: dict[str, Tensor]


@torch.no_grad()
def quantize_layers(
    source: Source,
    schemes: Mapping[str, Scheme],
    solve: Solve,
    samples: Sequence[Sample],
    *,
    weigher: Weigher | None = None,
    pass_on_errors: bool = False,
    known: Callable[[int], Layer | None] = lambda _: None,
    step: Callable[[int], None] = lambda _: None,
) -> Iterator[Layer]:
    """Quantizes every decoder layer in turn. Raises EdgeError where a layer's inputs are not finite.

    With a ``weigher``, inputs are scaled before weights are rounded (AWQ, MBQ). With ``pass_on_errors``, later layers
    read the outputs of quantized layers (GPTQ), else those of float layers. ``known`` returns layers already done.
    """
    states = [rows[None] for rows in embedded(Reference(source), samples)]
    places = [place_of(source.config.text, len(sample.ids)) for sample in samples]
    for number, layer in enumerate(source.layers("sdpa")):
        start = f"{DECODER}layers.{number}."
        if not all(bool(state.isfinite().all()) for state in states):
            raise EdgeError(f"layer {number} reads NaN or infinity in calibration", f"try other data; {MAKE}")
        wanted = {name: schemes[f"{start}{name}.weight"] for name in MATRICES if f"{start}{name}.weight" in schemes}
        done = known(number)
        outputs = [] if pass_on_errors else through(layer, states, places)  # first: scaling moves the last bits
        if done is None:
            floats: dict[str, Tensor] = {}
            if weigher is not None:
                inputs = _Inputs(layer, states, places)
                for block in BLOCKS:
                    weights = [weigher.weights(number, block.within, sample.kinds) for sample in samples]
                    floats |= _scaled(layer, block, wanted, inputs, weights, weigher.grows)
            grams = _observed(layer, wanted, states, places)
            found, errors = {}, {}
            for name, scheme in wanted.items():
                weight = layer.get_parameter(f"{name}.weight").detach()
                check_range(f"{start}{name}.weight", weight)
                held = solve(weight, scheme, grams[name])
                found[f"{start}{name}.weight"] = held
                errors[f"{start}{name}.weight"] = squares(held, weight)
            changed = {f"{start}{name}": tensor for name, tensor in floats.items()}
            done = Layer(found, {name: tensor for name, tensor in changed.items() if name not in found}, errors)
        if pass_on_errors:
            _load(layer, start, done)
            outputs = through(layer, states, places)
        states = outputs
        yield done
        step(1)


def squares(held: Quantized, weight: Tensor) -> Tensor:
    """Sums of squares of a weight's error and of the weight: (2,)."""
    exact = weight.float()
    return torch.stack([(held.dequantize() - exact).square().sum(), exact.square().sum()])


def _load(layer: PhantomDecoderLayer, start: str, done: Layer) -> None:
    """Loads the quantized weights, as floats, and the changed tensors into ``layer``."""
    tensors = {name: held.dequantize() for name, held in done.weights.items()} | done.floats
    layer.load_state_dict({name.removeprefix(start): tensor for name, tensor in tensors.items()}, strict=False)


def _observed(
    layer: PhantomDecoderLayer, names: Mapping[str, Scheme], states: Sequence[Tensor], places: Sequence[Place]
) -> dict[str, Tensor]:
    """Gram matrices of the inputs of each matrix."""
    grams: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0].flatten(0, -2)
            grams[name] = grams.get(name, 0) + rows.T @ rows

        return hook

    hooks = [layer.get_submodule(name).register_forward_pre_hook(watch(name)) for name in names]
    through(layer, states, places)
    for one in hooks:
        one.remove()
    return grams


class _Inputs:
    """Inputs of a layer's attention and MLP, sample by sample, and their outputs with other weights."""

    def __init__(self, layer: PhantomDecoderLayer, states: Sequence[Tensor], places: Sequence[Place]) -> None:
        self.layer, self.places = layer, places
        self.read: dict[str, list[Tensor]] = {"self_attn": [], "mlp": []}
        for state, (rope, mask) in zip(states, places, strict=True):
            normed = layer.input_layernorm(state)
            self.read["self_attn"].append(normed)
            middle = state + layer.self_attn(normed, rope, mask, None, None)[0]
            self.read["mlp"].append(layer.post_attention_layernorm(middle))

    def outputs(self, within: str, weights: dict[str, Tensor]) -> Iterator[Tensor]:
        """Outputs (N, hidden) of each sample."""
        module = self.layer.get_submodule(within)
        for read, (rope, mask) in zip(self.read[within], self.places, strict=True):
            if within == "mlp":
                yield functional_call(module, weights, (read,))[0]
            else:
                yield functional_call(module, weights, (read, rope, mask, None, None))[0][0]


def _scaled(
    layer: PhantomDecoderLayer,
    block: Block,
    schemes: Mapping[str, Scheme],
    inputs: _Inputs,
    weights: Sequence[Tensor],
    grows: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Scales a block's inputs for the least error; returns the layer's changed tensors by name."""
    names = {name: f"{block.within}.{name}" for name in block.matrices}
    if not all(name in schemes for name in names.values()):
        return {}
    module = layer.get_submodule(block.within)
    exact = {f"{name}.weight": module.get_submodule(name).weight.detach() for name in names}
    want = list(inputs.outputs(block.within, exact))
    size = _size(layer, block, inputs)
    best, chosen = float("inf"), torch.ones_like(size)
    for step in range(GRID):
        scale = size.pow(step / GRID)
        scale = (scale / (scale.max() * scale.min()).sqrt()).clamp(1e-4, 1e4)
        rounded = {
            f"{name}.weight": nearest(exact[f"{name}.weight"] * scale, schemes[full]).dequantize() / scale
            for name, full in names.items()
        }
        lost = sum(
            float((grows(found - exact_output).mean(-1) * counts).sum())
            for found, exact_output, counts in zip(inputs.outputs(block.within, rounded), want, weights, strict=True)
        )
        if lost < best:
            best, chosen = lost, scale
    for name in names:
        matrix = module.get_submodule(name)
        matrix.weight.data = exact[f"{name}.weight"] * chosen
    before = layer.get_submodule(block.before)
    parameter = before.weight
    assert isinstance(parameter, nn.Parameter)
    parameter.data = parameter.detach() / (chosen if parameter.ndim == 1 else chosen[:, None])
    for read in inputs.read[block.within] if parameter.ndim == 1 else ():
        read /= chosen
    return {f"{block.before}.weight": parameter.detach()}


def _size(layer: PhantomDecoderLayer, block: Block, inputs: _Inputs) -> Tensor:
    """Mean magnitude of each input channel of the block's matrices."""
    total, count = torch.zeros(()), 0
    for read in inputs.read[block.within]:
        rows = read[0]
        if block.before == "mlp.up_proj":
            mlp = layer.mlp
            rows = torch.nn.functional.silu(mlp.gate_proj(rows)) * mlp.up_proj(rows)
        total = total + rows.abs().sum(0)
        count += len(rows)
    return (total / count).clamp(min=1e-6)

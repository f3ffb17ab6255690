"""The checkpoint with every constant as a package of float16 stores it, computed in float32.

A difference between it and the package's own graph, computed in float32, is no rounding: it is a fault. Its difference
from the checkpoint is the rounding of constants alone. Scales and gates are computed again here, from config and
checkpoint, so that faults of the drawing are not copied.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from phantom_edge.bundle.manifest import Phantom
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.fold import FoldedMap, FoldedMaps
from phantom_edge.export.passes.folded import FoldedLayer
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.phantom_rank import forms_of
from phantom_edge.export.passes.rank import Bases, Basis
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.vision import SHRUNK
from phantom_edge.models.decoder import PhantomDecoderLayer
from phantom_edge.models.modeling import PhantomModel
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD
from phantom_edge.models.vision import VisionAttention
from phantom_edge.reference import Reference, window_mask


def stored(tensor: Tensor) -> Tensor:
    """Rounds a tensor to float16."""
    return tensor.detach().half().float()


def rounded(number: float) -> float:
    """Rounds a number to float16."""
    return float(stored(torch.tensor(number)))


class StoredReference(Reference):
    """A checkpoint as the packages of a bundle hold it."""

    def __init__(self, source: Source, facts: AppleFacts, phantom: Sequence[Phantom]) -> None:
        super().__init__(source)
        self.is_fused = facts.compute == "gpu"
        self.forms = forms_of(source, [(layer.key_rank, layer.value_rank) for layer in phantom])
        self.quantized = frozenset(source.integers.schemes if source.integers is not None else ())
        self.norm.weight.data = stored(self.norm.weight)
        self.norm.eps = rounded(self.norm.eps)
        head = EMBEDDING if source.config.text.tie_word_embeddings else HEAD
        self.head = self.head if head in self.quantized else stored(self.head)
        self.table = self.table if EMBEDDING in self.quantized else stored(self.table)

    def vision_model(self) -> PhantomModel:
        """See Reference."""
        if self.pictures is None:
            model = super().vision_model()
            self._store(model.named_parameters(), "model.")
            projector = model.projector.norm
            exact = projector.eps
            for module in model.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = rounded(module.eps)
            projector.eps = rounded(exact * SHRUNK**2) / SHRUNK**2  # its input is made smaller first
            if not self.is_fused:
                self._rescale(model)
        assert self.pictures is not None
        return self.pictures

    def _rescale(self, model: PhantomModel) -> None:
        """Scale queries by the graph's own factor, and undo the factor of torch's kernel."""
        vision = self.config.vision
        width = vision.hidden_size
        root = math.sqrt(width / vision.num_attention_heads)
        ratio = rounded(1 / root) * root
        for module in model.modules():
            if isinstance(module, VisionAttention):
                qkv = module.qkv
                for parameter in (qkv.weight, *(() if qkv.bias is None else (qkv.bias,))):
                    parameter.data = torch.cat([parameter[:width] * ratio, parameter[width:]])

    def _store(self, parameters: Iterable[tuple[str, nn.Parameter]], start: str) -> None:
        for name, parameter in parameters:
            if start + name not in self.quantized:
                parameter.data = stored(parameter)

    @torch.no_grad()
    def hidden(self, prompts: Sequence[Tensor], done: Callable[[], None] = lambda: None) -> list[Tensor]:
        """See Reference; in folded form."""
        text = self.config.text
        tables = constant_tables(text, max(map(len, prompts)))
        places = [((tables[0][: len(one)], tables[1][: len(one)]), self._mask(len(one))) for one in prompts]
        states = [prompt[None] for prompt in prompts]
        for number, (layer, form) in enumerate(zip(self.source.layers(), self.forms, strict=True)):
            folded = self._layer(layer, form, f"{DECODER}layers.{number}.")
            states = [folded(state, rope, mask)[0] for state, (rope, mask) in zip(states, places, strict=True)]
            done()
        return [self.norm(state)[0] for state in states]

    def _mask(self, tokens: int) -> Tensor:
        seen = window_mask(tokens, self.config.text.sliding_window)
        seen = torch.ones(tokens, tokens, dtype=torch.bool).tril() if seen is None else seen[0, 0]
        return torch.zeros(tokens, tokens).masked_fill(~seen, float("-inf"))

    def _layer(self, layer: PhantomDecoderLayer, form: LayerForm, start: str) -> FoldedLayer:
        """Returns a layer with the package's constants."""
        own = layer.self_attn
        gates = {part: getattr(own, f"gate_{part}") for part in ("plain", "phantom")}
        weights = {part: gate.weight.detach().clone() for part, gate in gates.items()}
        bias = float(gates["phantom"].bias.detach() - gates["plain"].bias.detach())
        self._store(layer.named_parameters(), start)
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.eps = rounded(norm.eps)
        width = own.head_dim + form.bases.key.rank
        # The fused operator divides by the root of the doubled width.
        own.scaling = (
            rounded(math.sqrt(width / own.head_dim)) / math.sqrt(width) if self.is_fused else rounded(own.scaling)
        )
        phantom = own.gate_phantom.weight.data
        change = stored(form.maps.value.eta * form.bases.value.mean) if not form.bases.value.rank else phantom[0] * 0
        shift = float(phantom[0] @ change)  # of the score, where the change is the same for all: the bias holds it
        own.gate_plain.weight.data = phantom - stored(weights["phantom"] - weights["plain"])
        own.gate_plain.bias.data = torch.zeros(1)
        own.gate_phantom.bias.data = torch.tensor([rounded(bias + shift) - shift])
        return FoldedLayer(layer, *_stored_form(form))


def _stored_form(form: LayerForm) -> tuple[FoldedMaps, Bases]:
    maps, bases = form.maps, form.bases
    strength = rounded(maps.query.eta * maps.key.eta)
    eta, value = rounded(maps.value.eta), _stored_basis(bases.value)
    if not value.rank:
        value, eta = replace(value, mean=stored(maps.value.eta * bases.value.mean)), 1.0
    return (
        FoldedMaps(
            replace(_stored_map(maps.query), eta=strength),
            replace(_stored_map(maps.key), eta=1.0),
            replace(_stored_map(maps.value), eta=eta),
        ),
        Bases(_stored_basis(bases.key), value),
    )


def _stored_map(folded: FoldedMap) -> FoldedMap:
    return replace(folded, query=stored(folded.query), keys=stored(folded.keys), values=stored(folded.values))


def _stored_basis(basis: Basis) -> Basis:
    return replace(basis, vectors=stored(basis.vectors), mean=stored(basis.mean))

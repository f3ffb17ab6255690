"""Damage of rounding, one unit of weights at a time: the divergence of the answers to calibration questions."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.files import planned
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import load
from phantom_edge.models.tensor_names import EMBEDDING, HEAD, STATIC, part_of
from phantom_edge.quantize.calibration import KINDS, MAKE, Sample
from phantom_edge.quantize.rounding import nearest
from phantom_edge.reference import place_of, through

UNITS = (
    (r"model\.language_model\.layers\.(\d+)\.(?:self_attn|mlp)", r"\.(?:q|k|v|o|gate|up|down)_proj\.weight"),
    (r"model\.vision_tower\.layers\.\d+", r"\..*"),
    (r"model\.projector", r"\..*"),
    (re.escape(EMBEDDING.removesuffix(".weight")), r"\.weight"),
    (re.escape(HEAD.removesuffix(".weight")), r"\.weight"),
)
"""Patterns of units: the unit's name, and the rest of its weights' names. The phantom maps are in none and stay
float."""


@dataclass(frozen=True)
class Unit:
    """Weights that share one scheme. ``layer`` is the decoder's, None elsewhere; ``match`` matches just their names.

    ``shapes`` maps their names to (rows, columns); ``is_visual``: they belong to vision tower or projector.
    """

    name: str
    match: str
    layer: int | None
    shapes: dict[str, tuple[int, int]]
    is_visual: bool

    def bytes(self, scheme: str, source: Source) -> int:
        """Size of the weights in a quantized checkpoint, bytes; floats stay as they are in ``source``."""
        if scheme not in SCHEMES:
            return sum(source.tensors[name].bytes for name in self.shapes)
        find = partial(Quantized, SCHEMES[scheme])  # never called: only the plan's sizes are used
        plans = (planned(name, shape, SCHEMES[scheme], find) for name, shape in self.shapes.items())
        return sum(part.bytes for plan in plans for part in plan)

    def fits(self, scheme: str) -> bool:
        """True where the scheme's groups divide the unit's rows."""
        group = SCHEMES[scheme].group if scheme in SCHEMES else None
        return group is None or all(columns % group == 0 for _, columns in self.shapes.values())


def units_of(source: Source) -> list[Unit]:
    """All units, in the order of the model's weights."""
    found: dict[str, Unit] = {}
    for name, shape in matrices(source.config).items():
        for pattern, rest in UNITS:
            if fits := re.fullmatch(f"({pattern}){rest}", name):
                unit, layer = fits[1], int(fits[2]) if fits.re.groups > 1 else None
                made = Unit(unit, re.escape(unit) + rest, layer, {}, part_of(name) in STATIC)
                found.setdefault(unit, made).shapes[name] = shape
    return list(found.values())


def _key(sample: Sample) -> str:
    """Identity of a sample's pictures, empty for none."""
    return "" if sample.pixels is None else hashlib.sha256(sample.pixels.numpy().tobytes()).hexdigest()


class Judge:
    """The whole model in float32, and its log-probabilities for the right answers of ``samples``.

    Only the hidden states before one layer are kept, so ``damage`` is fastest with layers in their order.
    """

    @torch.no_grad()
    def __init__(self, source: Source, samples: Sequence[Sample]) -> None:
        self.model, _ = load(str(source.folder), torch.float32)
        self.model.requires_grad_(False)
        self.samples, self.config = samples, source.config.text
        self.places = [place_of(self.config, len(one.ids)) for one in samples]
        self.keys = [_key(one) for one in samples]
        self.pictures = {key: one.pixels for key, one in zip(self.keys, samples, strict=True) if one.pixels is not None}
        self.embedded = self.embed(self.encode_images())
        self.before, self.states = 0, self.embedded
        self.exact = self.log_probabilities(self._from(0, self.embedded))
        if not all(bool(one.isfinite().all()) for one in self.exact):
            raise EdgeError("the model answers NaN in calibration", f"the checkpoint is damaged, or: {MAKE}")

    def encode_images(self) -> dict[str, Tensor]:
        """Image tokens of every picture, by key."""
        return {
            key: self.model.get_image_features(pixels).pooler_output.flatten(0, 1)
            for key, pixels in self.pictures.items()
        }

    def embed(self, tokens: Mapping[str, Tensor]) -> list[Tensor]:
        """Inputs of the first layer for each sample, (1, N, hidden); ``tokens`` are those of ``encode_images``."""
        found = []
        for sample, key in zip(self.samples, self.keys, strict=True):
            rows = self.model.get_input_embeddings()(sample.ids)
            if key:
                rows = rows.clone()
                rows[sample.kinds == KINDS.index("vision")] = tokens[key]
            found.append(rows[None])
        return found

    def _from(self, layer: int, states: Sequence[Tensor]) -> Sequence[Tensor]:
        for one in self.model.model.language_model.layers[layer:]:
            states = through(one, states, self.places)
        return states

    def _up_to(self, layer: int) -> Sequence[Tensor]:
        """Inputs of a layer of the exact model."""
        if layer < self.before:
            self.before, self.states = 0, self.embedded
        for one in self.model.model.language_model.layers[self.before : layer]:
            self.states = through(one, self.states, self.places)
        self.before = layer
        return self.states

    def log_probabilities(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Log-probabilities (tokens, vocab) at every token of each right answer."""
        norm, found = self.model.model.language_model.norm, []
        for sample, state in zip(self.samples, states, strict=True):
            asked = (sample.kinds == KINDS.index("answer")).nonzero()[:, 0] - 1
            found.append(self.model.lm_head(norm(state[0, asked])).log_softmax(-1))
        return found

    @torch.no_grad()
    def damage(self, schemes: Mapping[str, str], layer: int | None) -> float:
        """Mean divergence in nats from the exact model's answers, with weights rounded by ``schemes``: name to scheme.

        ``layer`` is the decoder's first layer that changes; None where anything may change.
        """
        states = self._up_to(layer) if layer is not None else None
        with self._rounded(schemes):
            states = self.embed(self.encode_images()) if states is None else states
            rounded = self.log_probabilities(self._from(layer or 0, states))
        apart = [(exact.exp() * (exact - found)).sum(-1) for exact, found in zip(self.exact, rounded, strict=True)]
        return max(float(torch.cat(apart).mean()), 0.0)

    @contextmanager
    def _rounded(self, schemes: Mapping[str, str]) -> Iterator[None]:
        """Rounds some weights of the model, and restores them at the end."""
        kept: dict[str, Tensor] = {}
        try:
            for name, scheme in schemes.items():
                parameter = self.model.get_parameter(name)
                kept[name] = parameter.data
                if scheme in SCHEMES:
                    parameter.data = nearest(parameter.data, SCHEMES[scheme]).dequantize()
            yield
        finally:
            for name, data in kept.items():
                self.model.get_parameter(name).data = data

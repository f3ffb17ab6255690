"""Choice of each layer's phantom rank, with a bound of its error."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.fold import FoldedMap, FoldedMaps, fold_layers
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rank import Bases, Errors, bases_of, errors_of, whole
from phantom_edge.foundation.errors import UsageError
from phantom_edge.models.decoder import PhantomDecoderLayer

NOISE = {torch.float32: 2e-6, torch.float16: 1e-3}
"""Rounding error to ignore: of an attention logit, and of a value relative to its norm."""

STEP = 8
"""Multiple for widths of cached rows where the rank is chosen here, to suit kernels."""

LEAST = {torch.float32: 2.0**-126, torch.float16: 2.0**-14}
"""Smallest normal number."""


@dataclass(frozen=True)
class Phantom:
    """Value of ``--phantom``: full (``rank`` and ``bound`` None), a rank, or the smallest rank within a bound."""

    rank: int | None = None
    bound: float | None = None

    @classmethod
    def parse(cls, text: str, dtype: torch.dtype) -> "Phantom":
        """Parses ``full``, ``rank=R``, ``rank=auto`` or ``elide=E``. Raises EdgeError for anything else."""
        if text == "full":
            return cls()
        if text == "rank=auto":
            return cls(bound=NOISE[dtype])
        if found := re.fullmatch(r"rank=(\d{1,5})", text):
            return cls(rank=int(found[1]))
        number = r"\d+(\.\d*)?([eE][+-]?\d{1,3})?"
        if (found := re.fullmatch(f"elide=({number})", text)) and 0 < float(found[1]) < 1:
            return cls(bound=float(found[1]))
        raise UsageError(f"--phantom is '{text}'", "choose full, rank=16, rank=auto or elide=1e-3")


@dataclass(frozen=True)
class Chosen:
    """One layer's form, and its error bounds; ``is_proved`` where they hold for all inputs."""

    form: LayerForm
    errors: Errors
    is_proved: bool


def choose_forms(
    source: Source,
    phantom: Phantom,
    step: Callable[[int], None] = lambda _: None,
    *,
    multiple: int | None = None,
    least: float = 0.0,
) -> list[Chosen]:
    """Folds every layer of the decoder and chooses its ranks; ``step`` counts layers.

    Row widths are multiples of ``multiple``, if a target needs that. Where eta_q eta_k is below ``least``, the phantom
    half of keys is not representable: it is dropped, whatever ``phantom`` is, and its size reported as an error.
    """
    first = source.embedding(source.first_token())
    chosen = []
    for layer, maps in fold_layers(source.config.text, source.layers(), first):
        exact = _exact(maps)
        scaling, norm = layer.self_attn.scaling, value_norm(layer)
        chosen.append(choose(exact, phantom, scaling, norm, multiple=multiple, least=least))
        step(1)
    return chosen


def choose(
    maps: FoldedMaps,
    phantom: Phantom,
    scaling: float,
    value_norm: float,
    *,
    multiple: int | None = None,
    least: float = 0.0,
) -> Chosen:
    """Chooses the form of one layer; ``multiple`` and ``least`` as in ``choose_forms``.

    Raises EdgeError for a rank above the head dimension.
    """
    dim = maps.key.query.shape[0]
    if phantom.rank is not None and phantom.rank > dim:
        raise UsageError(f"--phantom is rank={phantom.rank}, and heads have {dim} numbers", f"give rank={dim} or less")
    is_held = maps.query.eta * maps.key.eta >= least
    if phantom.rank is None and phantom.bound is None and is_held:
        bases = Bases(whole(maps.key), whole(maps.value))
        return Chosen(LayerForm(maps, bases), Errors(0.0, 0.0), is_proved=True)
    step = multiple or (1 if phantom.bound is None else STEP)
    ranks = [*(rank for rank in range(dim) if (dim + rank) % step == 0), dim]
    if phantom.bound is None:
        ranks = [next(rank for rank in ranks if rank >= min(dim if phantom.rank is None else phantom.rank, dim))]
    keys, values = bases_of(maps.key, ranks if is_held else [0] * len(ranks)), bases_of(maps.value, ranks)
    both = [
        (Bases(key, value), errors_of(maps, Bases(key, value), scaling, value_norm))
        for key, value in zip(keys, values, strict=True)
    ]
    bound = phantom.bound if phantom.bound is not None else float("inf")
    key, logit = next((bases.key, e.logit) for bases, e in both if e.logit <= bound or bases is both[-1][0])
    value, moved = next((bases.value, e.value) for bases, e in both if e.value <= bound or bases is both[-1][0])
    return Chosen(LayerForm(maps, Bases(key, value)), Errors(logit, moved), key.is_proved and value.is_proved)


def forms_of(source: Source, ranks: Sequence[tuple[int, int]]) -> list[LayerForm]:
    """The forms of all layers with the given ``ranks`` of keys and values."""
    first = source.embedding(source.first_token())
    found = []
    for (_, maps), (key, value) in zip(fold_layers(source.config.text, source.layers(), first), ranks, strict=True):
        exact = _exact(maps)
        found.append(LayerForm(exact, Bases(bases_of(exact.key, [key])[0], bases_of(exact.value, [value])[0])))
    return found


def value_norm(layer: PhantomDecoderLayer) -> float:
    """Norm of a head's value for evenly spread inputs of the layer: the reference for errors of values."""
    attention = layer.self_attn
    weight: Tensor = attention.v_proj.weight.detach() * layer.input_layernorm.weight.detach()
    squares = float(weight.square().sum()) / int(attention.config.num_key_value_heads)
    return max(math.sqrt(squares), 1e-9)


def _exact(maps: FoldedMaps) -> FoldedMaps:
    return FoldedMaps(_double(maps.query), _double(maps.key), _double(maps.value))


def _double(folded: FoldedMap) -> FoldedMap:
    return FoldedMap(folded.query.double(), folded.keys.double(), folded.values.double(), folded.eta)

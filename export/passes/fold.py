"""Fold the sentinel: phantom attention without a phantom position.

The prompt always begins with the same token, and attention is causal; so query, key and value of that token are
constants of the model in every layer, and with them the phantom maps' keys and values.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache

from phantom_edge.models.attention import HeadMap, PhantomAttention
from phantom_edge.models.cache import Sentinel, SentinelLayer
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.decoder import PhantomDecoderLayer
from phantom_edge.models.rope import rotary_tables


@dataclass(frozen=True)
class FoldedMap:
    """``X(x) = eta gelu(softmax(gelu(x Wq^T) Kc^T) Vo)``, ``Kc = gelu(Wk s) / sqrt(d)``, ``Vo = gelu(Wv s) Wo^T``.

    ``query`` (d, d) is Wq, ``keys`` and ``values`` (H_s, d) are Kc and Vo, one row for each head of the sentinel.
    """

    query: Tensor
    keys: Tensor
    values: Tensor
    eta: float

    def weights(self, x: Tensor) -> Tensor:
        """Weights of ``x`` (..., d) over the sentinel's heads: (..., H_s)."""
        return (F.gelu(x @ self.query.T) @ self.keys.T).softmax(-1)

    def direction(self, x: Tensor) -> Tensor:
        """``X(x) / eta``: (..., d) to (..., d)."""
        return F.gelu(self.weights(x) @ self.values)

    def __call__(self, x: Tensor) -> Tensor:
        return self.eta * self.direction(x)


def fold_map(head_map: HeadMap, rows: Tensor) -> FoldedMap:
    """The map ``head_map`` at the sentinel's ``rows`` (H_s, d): ``fold_map(m, s)(x) == m(x, s)``."""
    keys = F.gelu(head_map.k_proj(rows)) * head_map.scale
    values = head_map.o_proj(F.gelu(head_map.v_proj(rows)))
    return FoldedMap(head_map.q_proj.weight.detach(), keys.detach(), values.detach(), float(head_map.eta))


@dataclass(frozen=True)
class FoldedMaps:
    """The three maps of a layer, folded."""

    query: FoldedMap
    key: FoldedMap
    value: FoldedMap


def fold_attention(attention: PhantomAttention, sentinel: Sentinel) -> FoldedMaps:
    """The maps of ``attention`` at the sentinel of its layer: query (H, d), key and value (H_kv, d)."""
    return FoldedMaps(
        fold_map(attention.phantom_query, sentinel.query),
        fold_map(attention.phantom_key, sentinel.key),
        fold_map(attention.phantom_value, sentinel.value),
    )


@torch.no_grad()
def fold_layers(
    config: PhantomTextConfig, layers: Iterable[PhantomDecoderLayer], first_token: Tensor
) -> Iterator[tuple[PhantomDecoderLayer, FoldedMaps]]:
    """Each layer with its folded maps, one after the other, so that only one need be in memory.

    ``first_token`` (hidden,) is the embedding of the first token of every prompt: alone at position 0, it determines
    the sentinel of every layer.
    """
    hidden, cache = first_token[None, None], DynamicCache(config=config)
    rope = rotary_tables(config, torch.zeros(1, 1, dtype=torch.long))
    for layer in layers:
        hidden = layer(hidden, rope, past_key_values=cache)
        known = cache.layers[layer.self_attn.layer_idx]
        assert isinstance(known, SentinelLayer) and known.sentinel is not None
        yield layer, fold_attention(layer.self_attn, Sentinel(*(rows[0] for rows in known.sentinel)))

"""Phantom attention (paper, eq. 1-3): for the length of one attention, every head is twice as wide."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.cache import Sentinel, SentinelLayer
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.precision import wide
from phantom_edge.models.rope import rotate


class HeadMap(nn.Module):
    """X(x, s): the heads of every token attend over the *heads* of the sentinel.

    ``eta * gelu(Wo softmax(gelu(Wq x) gelu(Wk s)^T / sqrt(d)) gelu(Wv s))``, exact GELU, no biases. On grouped
    queries it runs on the kv heads, which equals running it on the repeated ones.
    """

    def __init__(self, head_dim: int, eta: float) -> None:
        super().__init__()
        self.eta = eta
        self.scale = head_dim**-0.5
        self.q_proj = nn.Linear(head_dim, head_dim, bias=False)
        self.k_proj = nn.Linear(head_dim, head_dim, bias=False)
        self.v_proj = nn.Linear(head_dim, head_dim, bias=False)
        self.o_proj = nn.Linear(head_dim, head_dim, bias=False)

    def forward(self, x: Tensor, sentinel: Tensor) -> Tensor:
        """``x`` (B, H, N, d) and ``sentinel`` (B, H_s, d) to (B, H, N, d)."""
        keys = F.gelu(self.k_proj(sentinel))[:, None]  # (B, 1, H_s, d)
        values = F.gelu(self.v_proj(sentinel))[:, None]
        scores = F.gelu(self.q_proj(x)) @ keys.transpose(-1, -2) * self.scale  # (B, H, N, H_s)
        mixed = scores.softmax(dim=-1, dtype=wide(scores.dtype)).to(x.dtype) @ values
        return self.eta * F.gelu(self.o_proj(mixed))


class PhantomAttention(nn.Module):
    """Grouped-query attention on heads of 2d, gated back to d."""

    def __init__(self, config: PhantomTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5  # of d, though the dot product has 2d terms (lambda in eq. 1)
        self.is_causal = True
        width, wide, narrow = (
            config.hidden_size,
            config.num_attention_heads * config.head_dim,
            config.num_key_value_heads * config.head_dim,
        )
        self.q_proj = nn.Linear(width, wide, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, narrow, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, narrow, bias=config.attention_bias)
        self.o_proj = nn.Linear(wide, width, bias=False)
        self.phantom_query = HeadMap(config.head_dim, config.eta)
        self.phantom_key = HeadMap(config.head_dim, config.eta)
        self.phantom_value = HeadMap(config.head_dim, config.eta)
        self.gate_plain = nn.Linear(config.head_dim, 1)
        self.gate_phantom = nn.Linear(config.head_dim, 1)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None,
        sentinel_index: Tensor | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """``hidden_states`` (B, N, hidden) to the same shape, and attention weights where the kernel has them.

        ``sentinel_index`` (B,) is the sentinel's place inside this call, negative where it lies in the cache;
        None stands for "in the cache if there is one, else at 0" in every row.
        """
        batch, tokens, _ = hidden_states.shape
        heads = (batch, tokens, -1, self.head_dim)
        query = rotate(self.q_proj(hidden_states).view(heads).transpose(1, 2), *rope)  # (B, H, N, d)
        key = rotate(self.k_proj(hidden_states).view(heads).transpose(1, 2), *rope)  # (B, H_kv, N, d)
        value = self.v_proj(hidden_states).view(heads).transpose(1, 2)

        layer = cache_layer(past_key_values, self.layer_idx)
        sentinel = find_sentinel(query, key, value, sentinel_index, layer)
        query = torch.cat([query, self.phantom_query(query, sentinel.query)], dim=-1)  # (B, H, N, 2d)
        key = torch.cat([key, self.phantom_key(key, sentinel.key)], dim=-1)
        value = torch.cat([value, value + self.phantom_value(value, sentinel.value)], dim=-1)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)

        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        mixed, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            sliding_window=self.config.sliding_window,
            **kwargs,
        )  # (B, N, H, 2d)
        plain, phantom = mixed.split(self.head_dim, dim=-1)
        gate = torch.sigmoid(self.gate_plain(plain) - self.gate_phantom(phantom))  # (B, N, H, 1)
        gated = gate * plain + (1 - gate) * phantom
        return self.o_proj(gated.reshape(batch, tokens, -1)), weights


def cache_layer(cache: Cache | None, index: int) -> SentinelLayer | None:
    """The cache of one layer. Raises EdgeError where it cannot hold a sentinel."""
    if cache is None:
        return None
    layer = cache.layers[index] if index < len(cache.layers) else None
    if not isinstance(layer, SentinelLayer):
        raise EdgeError(
            "this cache was made without the model's config and cannot hold the sentinel",
            "make it with DynamicCache(config=model.config), or let the model make it",
        )
    return layer


def find_sentinel(
    query: Tensor, key: Tensor, value: Tensor, index: Tensor | None, layer: SentinelLayer | None
) -> Sentinel:
    """Returns the sentinel of every row, and stores it in the cache layer.

    A left-padded row may get its first token only in a later chunk; until then its rows are padding, which nothing
    attends to, so any sentinel serves.
    """
    known = layer.sentinel if layer is not None else None
    if index is None and known is not None:
        return known
    if index is None:
        found = Sentinel(query[:, :, 0], key[:, :, 0], value[:, :, 0])
    else:
        found = Sentinel(*(_rows_at(x, index.clamp(min=0, max=x.shape[2] - 1)) for x in (query, key, value)))
        if known is not None:
            arrived = (index >= 0)[:, None, None]
            found = Sentinel(*(torch.where(arrived, new, old) for new, old in zip(found, known, strict=True)))
    if layer is not None:
        layer.sentinel = found
    return found


def _rows_at(x: Tensor, index: Tensor) -> Tensor:
    """Row ``index`` (B,) of ``x`` (B, H, N, d): (B, H, d)."""
    batch, heads, _, dim = x.shape
    return x.gather(2, index[:, None, None, None].expand(batch, heads, 1, dim)).squeeze(2)


def eager_attention(
    module: PhantomAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Attention in plain operators, groups as rows of their kv head (``attn_implementation="eager"``)."""
    batch, heads, tokens, width = query.shape
    kv_heads = key.shape[1]
    grouped = query.reshape(batch, kv_heads, heads // kv_heads, tokens, width)
    scores = grouped @ key[:, :, None].transpose(-1, -2) * scaling  # (B, H_kv, G, N, S)
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask[:, :, None], torch.finfo(scores.dtype).min)
    elif attention_mask is not None:
        scores = scores + attention_mask[:, :, None]
    weights = scores.softmax(dim=-1, dtype=wide(scores.dtype)).to(query.dtype)
    mixed = (weights @ value[:, :, None]).reshape(batch, heads, tokens, width)
    return mixed.transpose(1, 2), weights.reshape(batch, heads, tokens, -1)

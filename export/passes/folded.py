"""The decoder as devices run it: folded maps, no phantom position, the cache an argument, attention of head d + r.

The cache holds the plain half of keys and values and, beside it, the *direction* of the phantom half, without eta and
without the plain value that the model adds to it: so both halves have comparable ranges, eta acts in one place each
(on the query, on the gated output), and the phantom part fits fewer numbers than d.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phantom_edge.export.passes.fold import FoldedMaps
from phantom_edge.export.passes.rank import Bases, whole
from phantom_edge.models.attention import PhantomAttention
from phantom_edge.models.decoder import PhantomDecoderLayer


@dataclass(frozen=True)
class Rows:
    """New rows of a layer's cache: keys (B, H_kv, N, d + r_k) and values (B, H_kv, N, d + r_v)."""

    key: Tensor
    value: Tensor


class FoldedAttention(nn.Module):
    """Equals PhantomAttention with the sentinel folded into ``maps``, up to the error of ``bases`` (by default none).

    With o1 and c the plain and the phantom part of the attention output, and ``dv = c @ basis^T + mean``:
    ``out = o1 + sigmoid(w2.(o1 + eta dv) + b2 - w1.o1 - b1) eta dv``, which is ``g o1 + (1 - g) o2`` of eq. 3.
    The mean of all keys changes no softmax. The mean of all values is added afterwards: attention weights sum to 1.
    """

    def __init__(self, attention: PhantomAttention, maps: FoldedMaps, bases: Bases | None = None) -> None:
        super().__init__()
        self.attention = attention
        self.maps = maps
        self.head_dim, self.groups = attention.head_dim, attention.num_key_value_groups
        self.bases = bases or Bases(whole(maps.key), whole(maps.value))

    def rows(self, hidden: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Rows]:
        """Maps normed ``hidden`` (B, N, width) to scaled queries (B, H, N, d + r_k) and new cache rows."""
        own, maps, bases = self.attention, self.maps, self.bases
        heads = (*hidden.shape[:2], -1, self.head_dim)
        query = turned(own.q_proj(hidden).view(heads).transpose(1, 2), *rope)
        key = turned(own.k_proj(hidden).view(heads).transpose(1, 2), *rope)
        value = own.v_proj(hidden).view(heads).transpose(1, 2)
        strength = maps.query.eta * maps.key.eta
        shadow = strength * (maps.query.direction(query) @ bases.key.vectors)
        query = torch.cat([query, shadow], dim=-1) * own.scaling
        key = torch.cat([key, bases.key.coordinates(maps.key.direction(key))], dim=-1)
        return query, Rows(key, torch.cat([value, bases.value.coordinates(maps.value.direction(value))], dim=-1))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """Attention of queries (B, H, N, d + r_k) over rows (B, H_kv, S, ...) under ``mask`` (N, S): (B, N, width)."""
        own, basis = self.attention, self.bases.value
        scores = self._grouped(query) @ key[:, :, None].transpose(-1, -2) + mask
        found = scores.softmax(-1) @ value[:, :, None]  # (B, H_kv, G, N, d + r_v)
        plain, coordinates = found[..., : self.head_dim], found[..., self.head_dim :]
        change = self.maps.value.eta * (coordinates @ basis.vectors.T + basis.mean)
        gate = torch.sigmoid(own.gate_phantom(plain + change) - own.gate_plain(plain))
        mixed = (plain + gate * change).flatten(1, 2)  # (B, H, N, d)
        out: Tensor = own.o_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _grouped(self, x: Tensor) -> Tensor:
        """Groups heads by their kv head: (B, H, N, e) to (B, H_kv, G, N, e)."""
        return x.reshape(x.shape[0], -1, self.groups, *x.shape[2:])


def turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate ``x`` (..., N, d) by tables (N, d / 2), half against half."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


class FoldedLayer(nn.Module):
    """A decoder layer over FoldedAttention."""

    def __init__(self, layer: PhantomDecoderLayer, maps: FoldedMaps, bases: Bases | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.attention = FoldedAttention(layer.self_attn, maps, bases)

    def forward(
        self, hidden: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor, past: Rows | None = None
    ) -> tuple[Tensor, Rows]:
        """Maps ``hidden`` (B, N, width), ``rope`` (N, d / 2) each and ``mask`` (N, past + N) to hidden and new rows."""
        query, new = self.attention.rows(self.layer.input_layernorm(hidden), rope)
        key, value = new.key, new.value
        if past is not None:
            key, value = torch.cat([past.key, key], dim=2), torch.cat([past.value, value], dim=2)
        hidden = hidden + self.attention.attend(query, key, value, mask)
        return hidden + self.layer.mlp(self.layer.post_attention_layernorm(hidden)), new

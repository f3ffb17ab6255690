"""The decoder as one ExecuTorch method: from embeddings and the first one's position to logits of the last.

The cache is in its buffers. Operators that a delegate would refuse are replaced: means, halves and rotations are
products with constants, which are exact where these hold only ones and zeros.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.export.passes.fold import FoldedMap
from phantom_edge.export.passes.layer_form import LayerForm, Read, gate_of
from phantom_edge.export.passes.rank import Basis
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.executorch.linear import MakeLinear, constant, fixed
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD

Rope = tuple[Tensor, Tensor]
"""Cosines and sines (N, 1, head_dim) of the input tokens."""
Start = Any
"""Place of the input tokens in the cache: a Place, or another form that an attention takes."""


@dataclass(frozen=True)
class Place:
    """Place of the first input token in the cache.

    ``alone``: 1 for a single token behind enough others, else 0; ``is_alone`` (1,), bool, says the same.
    """

    first: int
    alone: int
    is_alone: Tensor


class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = constant(weight), eps
        self.mean = fixed(torch.full((1, len(weight)), 1 / len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., width) to the same shape."""
        return x * torch.rsqrt(self.mean(x * x) + self.eps) * self.weight


class Coordinates(nn.Module):
    """``strength * folded.direction(x)`` in a basis, padded with zeros to ``width`` numbers."""

    def __init__(self, folded: FoldedMap, basis: Basis, width: int, strength: float = 1.0) -> None:
        super().__init__()
        self.query, self.keys, self.values = (fixed(one) for one in (folded.query, folded.keys, folded.values.T))
        vectors = F.pad(strength * basis.vectors, (0, width - basis.rank))
        self.basis = nn.Identity() if basis.is_whole and strength == 1 else fixed(vectors.T)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., d) to (..., width)."""
        weights = self.keys(F.gelu(self.query(x))).softmax(-1)
        found: Tensor = self.basis(F.gelu(self.values(weights)))
        return found


class Gate(nn.Module):
    """Gates plain and phantom part of attention's output: see FoldedAttention."""

    change_of_all: Tensor

    def __init__(self, form: LayerForm, name: str, read: Read, dim: int, width: int) -> None:
        super().__init__()
        basis, eta = form.bases.value, form.maps.value.eta
        plain_weight, phantom_weight, plain_bias, phantom_bias = gate_of(read, name)
        vectors, mean = basis.vectors.double(), basis.mean.double()
        filled = width - dim - basis.rank
        weight = torch.cat([phantom_weight - plain_weight, eta * phantom_weight @ vectors], dim=-1)
        self.score = fixed(F.pad(weight, (0, filled)), phantom_bias - plain_bias + eta * phantom_weight @ mean)
        self.plain = fixed(torch.eye(dim, width)) if width > dim else nn.Identity()
        self.change = fixed(F.pad(eta * vectors, (dim, filled)), eta * mean) if basis.rank else None
        self.register_buffer("change_of_all", (eta * mean).float())

    def forward(self, mixed: Tensor) -> Tensor:
        """Maps (N, H, d + r) to (N, H, d)."""
        change = self.change_of_all if self.change is None else self.change(mixed)
        gated: Tensor = self.plain(mixed) + torch.sigmoid(self.score(mixed)) * change
        return gated


class Attention(nn.Module):
    """FoldedAttention over a cache of its own, with keys and values of one width, as the fused operator needs.

    The fused operator reads keys and values anew for every query head. So heads that share them are given to it as if
    they were tokens, where there is a single token; that call, or the other one, which has all tokens, is cut short.
    """

    keys: Tensor
    values: Tensor

    def __init__(
        self, config: PhantomTextConfig, form: LayerForm, number: int, read: Read, linear: MakeLinear, context: int
    ) -> None:
        super().__init__()
        name = f"{DECODER}layers.{number}.self_attn."
        self.heads, self.kv_heads, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.context, self.window = context, config.sliding_window
        self.q, self.k, self.v = (
            linear(f"{name}{part}_proj.weight", f"{name}{part}_proj.bias" if config.attention_bias else None)
            for part in "qkv"
        )
        self.o = linear(f"{name}o_proj.weight", None)
        maps, bases = form.maps, form.bases
        self.rank = max(bases.key.rank, bases.value.rank)
        self.shadow = self.key_phantom = self.value_phantom = None
        if bases.key.rank:
            self.shadow = Coordinates(maps.query, bases.key, self.rank, maps.query.eta * maps.key.eta)
            self.key_phantom = Coordinates(maps.key, bases.key, self.rank)
        if bases.value.rank:
            self.value_phantom = Coordinates(maps.value, bases.value, self.rank)
        half = torch.eye(self.dim // 2)
        self.across = fixed(torch.cat([F.pad(-half, (len(half), 0)), F.pad(half, (0, len(half)))]))
        width = self.dim + self.rank
        self.widened = fixed(torch.eye(width, self.dim)) if self.rank else nn.Identity()
        self.gate = Gate(form, name, read, self.dim, width)
        shape = (1, context, self.kv_heads, width)
        self.register_buffer("keys", torch.zeros(shape))
        self.register_buffer("values", torch.zeros(shape))

    def forward(self, x: Tensor, rope: Rope, start: Start, mask: Tensor | None) -> Tensor:
        """Maps (1, N, hidden) to the same shape."""
        tokens = x.shape[1]
        query = self._turned(self.q(x).view(tokens, self.heads, self.dim), rope)
        key = self._turned(self.k(x).view(tokens, self.kv_heads, self.dim), rope)
        value = self.v(x).view(tokens, self.kv_heads, self.dim)
        query, key, value = (
            self._wide(rows, phantom)[None]
            for rows, phantom in ((query, self.shadow), (key, self.key_phantom), (value, self.value_phantom))
        )
        mixed = self.attend(query, key, value, start, mask)
        out: Tensor = self.o(self.gate(mixed[0]).view(1, tokens, self.heads * self.dim))
        return out

    def attend(self, query: Tensor, key: Tensor, value: Tensor, start: Start, mask: Tensor | None) -> Tensor:
        """Writes new rows into the cache, and attends with queries (1, N, H, d + r), which have the output's shape."""
        torch.ops.llama.update_cache(key, self.keys, start.first)
        torch.ops.llama.update_cache(value, self.values, start.first)
        group = self.heads // self.kv_heads
        if mask is not None or group == 1 or group > self.context:
            return self._fused(query, start.first, mask, is_causal=mask is None)
        whole = self._fused(query, start.first * (1 - start.alone), None, is_causal=True)
        rows = query[0, -1].view(self.kv_heads, group, -1).transpose(0, 1)[None]
        before_last = (start.first + 1 - group) * start.alone  # the operator sees as many places more as it has rows
        alone = self._fused(rows, before_last, None, is_causal=False)
        return torch.where(start.is_alone, alone[0].transpose(0, 1).reshape(1, 1, self.heads, -1), whole)

    def _fused(self, query: Tensor, start: int, mask: Tensor | None, *, is_causal: bool) -> Tensor:
        scale = 1 / math.sqrt(self.dim)
        found: Tensor = torch.ops.llama.custom_sdpa(query, self.keys, self.values, start, mask, 0.0, is_causal, scale)
        return found

    def _turned(self, x: Tensor, rope: Rope) -> Tensor:
        cosines, sines = rope
        turned: Tensor = x * cosines + self.across(x) * sines
        return turned

    def _wide(self, rows: Tensor, phantom: nn.Module | None) -> Tensor:
        """Rows with their phantom coordinates, or zeros where only the others (keys or values) have some."""
        if phantom is not None:
            return torch.cat([rows, phantom(rows)], dim=-1)
        found: Tensor = self.widened(rows)
        return found


class Layer(nn.Module):
    """A decoder layer around its attention."""

    def __init__(
        self, config: PhantomTextConfig, number: int, read: Read, linear: MakeLinear, attention: Attention
    ) -> None:
        super().__init__()
        name = f"{DECODER}layers.{number}."
        self.attention = attention
        self.before, self.after = (
            Norm(read(f"{name}{which}_layernorm.weight"), config.rms_norm_eps) for which in ("input", "post_attention")
        )
        self.gate, self.up, self.down = (
            linear(f"{name}mlp.{part}_proj.weight", None) for part in ("gate", "up", "down")
        )

    def forward(self, x: Tensor, rope: Rope, start: Start, mask: Tensor | None) -> Tensor:
        """Maps (1, N, hidden) to the same shape."""
        x = x + self.attention(self.before(x), rope, start, mask)
        y = self.after(x)
        out: Tensor = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return out


class TextDecoder(nn.Module):
    """Maps ``inputs_embeds`` (1, N, hidden) from position ``start_pos`` (1,) on to logits (1, 1, vocab) of the last.

    With a sliding window the fused operator reads masked rows, too: the cache must begin as finite numbers.
    ExecuTorch's own modules begin with zeros.
    """

    attends: type[Attention] = Attention
    at_once: int | None = None
    """Number of tokens per call; None for any number."""
    cosines: Tensor
    sines: Tensor
    places: Tensor

    def __init__(
        self, config: PhantomTextConfig, forms: Sequence[LayerForm], read: Read, linear: MakeLinear, context: int
    ) -> None:
        super().__init__()
        self.context = context
        self.least = config.num_attention_heads // config.num_key_value_heads - 1
        self.window = config.sliding_window if config.sliding_window and config.sliding_window < context else None
        self.layers = nn.ModuleList(
            Layer(config, number, read, linear, self.attends(config, form, number, read, linear, context))
            for number, form in enumerate(forms)
        )
        self.norm = Norm(read(f"{DECODER}norm.weight"), config.rms_norm_eps)
        self.head = linear(EMBEDDING if config.tie_word_embeddings else HEAD, None)
        cosines, sines = (
            torch.cat([table, table], dim=-1)[:, None].float() for table in constant_tables(config, context)
        )
        self.register_buffer("cosines", cosines)
        self.register_buffer("sines", sines)
        self.register_buffer("places", torch.arange(context, dtype=torch.float32))

    def forward(self, inputs_embeds: Tensor, start_pos: Tensor) -> Tensor:
        """See the class."""
        tokens, start = inputs_embeds.shape[1], int_of(start_pos)
        for holds in (start >= 0, start < self.context, start + tokens <= self.context):
            torch._check(holds)  # type: ignore[no-untyped-call]
        rope = self.cosines.narrow(0, start, tokens), self.sines.narrow(0, start, tokens)
        return self.logits(inputs_embeds, rope, self._place(start_pos, start, tokens), self._mask(start, tokens))

    def logits(self, hidden: Tensor, rope: Rope, start: Start, mask: Tensor | None) -> Tensor:
        """Computes logits of the last token from (1, N, hidden)."""
        for layer in self.layers:
            hidden = layer(hidden, rope, start, mask)
        logits: Tensor = self.head(self.norm(hidden[:, -1:]))
        return logits

    def forget(self) -> None:
        """Empty the cache."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.attention.keys.zero_()
            layer.attention.values.zero_()

    def _place(self, start_pos: Tensor, start: int, tokens: int) -> Place:
        is_late = int_of((start_pos >= self.least).to(torch.int64))
        for holds in (is_late >= 0, is_late <= 1):
            torch._check(holds)  # type: ignore[no-untyped-call]
        alone = is_late * (1 // tokens)
        return Place(start, alone, torch.full((1,), alone, dtype=torch.int64) == 1)

    def _mask(self, start: int, tokens: int) -> Tensor | None:
        """Mask (N, context) of a sliding window; None where all earlier tokens are attended."""
        if self.window is None:
            return None
        behind = self.places.narrow(0, start, tokens)[:, None] - self.places
        return torch.where((behind < 0) | (behind >= self.window), float("-inf"), 0.0)


def int_of(start_pos: Tensor) -> int:
    """Returns the position as a number, which the graph keeps as a symbol."""
    return start_pos[0].item()  # type: ignore[return-value]

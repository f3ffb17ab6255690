"""The decoder for the HTP: a chunk of a prompt, one token, and the head, drawn alike, so that scales are the same.

The cache is an input in integers of 16 bits; new rows are outputs in the same form, which the host writes into it: keys
as columns (H_kv, e, P), values as rows (H_kv, P, e). A row's scale is that of its layer, in every graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from onnx_ir import Value
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.export.parts.cache import row_widths
from phantom_edge.export.passes.fold import FoldedMap
from phantom_edge.export.passes.layer_form import LayerForm, Read, gate_of
from phantom_edge.export.targets.qnn.fixed_point import FixedDrawing, Ranges
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD

SCORES, MASKED, MIXED = "scores", "masked", "mixed"
WHICH = ("past", "new")
"""Parts of a layer's scores and products: over cached rows, and over new ones."""


@dataclass(frozen=True)
class Balance:
    """Factors of a layer's phantom halves, so that one scale fits them and the plain halves.

    Queries are multiplied by ``key``, keys by its inverse, values by ``value``, which the change undoes: sums stay.
    """

    key: float = 1.0
    value: float = 1.0


class DecoderDrawing(FixedDrawing):
    """Draws ``tokens`` tokens after a cache of ``context`` rows, with the head if ``has_head``."""

    def __init__(
        self,
        config: PhantomTextConfig,
        forms: Sequence[LayerForm],
        read: Read,
        integers: QuantizedFiles | None,
        ranges: Ranges | None,
        balances: Sequence[Balance],
        *,
        tokens: int,
        context: int,
        has_head: bool,
    ) -> None:
        super().__init__("decoder", read, integers, ranges)
        self.config, self.tokens, self.context = config, tokens, context
        self.dim, self.heads, self.kv_heads = config.head_dim, config.num_attention_heads, config.num_key_value_heads
        self.groups = self.heads // self.kv_heads
        self.halves: dict[tuple[int, str], tuple[str, str]] = {}
        hidden = self._fixed_input("inputs_embeds", (tokens, config.hidden_size))
        self.cosines, self.sines = (self._fixed_input(name, (1, tokens, self.dim)) for name in ("cosines", "sines"))
        self.mask = self._fixed_input("mask", (1, self.groups * tokens, context + tokens))
        for number, (form, balance) in enumerate(zip(forms, balances, strict=True)):
            self.begin(f"layer.{number}")
            hidden = self._layer(hidden, number, form, balance)
        self.begin("end")
        hidden = self._norm(hidden, f"{DECODER}norm.weight", called="hidden")
        if has_head:
            draw_head(self, config, hidden, tokens)
        else:
            self.output(hidden, "hidden", (tokens, config.hidden_size))

    def _fixed_input(self, name: str, shape: Sequence[int]) -> Value:
        return self.fixed(self.input(name, shape), name)

    def _norm(self, x: Value, name: str, called: str = "") -> Value:
        weight = self.static(name, self.read(name))
        return self.op("RMSNormalization", x, weight, axis=-1, epsilon=self.config.rms_norm_eps, called=called)

    def _layer(self, hidden: Value, number: int, form: LayerForm, balance: Balance) -> Value:
        start = f"{DECODER}layers.{number}."
        attended = self._attention(self._norm(hidden, f"{start}input_layernorm.weight"), number, form, balance)
        hidden = self.op("Add", hidden, attended)
        inner = self._mlp(self._norm(hidden, f"{start}post_attention_layernorm.weight"), start)
        return self.op("Add", hidden, inner, called=f"layer.{number}")

    def _linear(self, x: Value, name: str, rows: int, columns: int, bias: str = "") -> Value:
        held = self.static(bias, self.read(bias)) if bias else None
        return self.linear(x, name, [name], [rows], columns, held)

    def _mlp(self, x: Value, start: str) -> Value:
        width, inner = self.config.hidden_size, self.config.intermediate_size
        gate, up = (self._linear(x, f"{start}mlp.{part}_proj.weight", inner, width) for part in ("gate", "up"))
        silu = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self._linear(self.op("Mul", silu, up), f"{start}mlp.down_proj.weight", width, inner)

    def _attention(self, x: Value, number: int, form: LayerForm, balance: Balance) -> Value:
        config, own = self.config, f"{DECODER}layers.{number}.self_attn."
        query, key, value = (
            self._headed(x, f"{own}{part}_proj", heads)
            for part, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads))
        )
        query, key = self._turned(query), self._turned(key)
        maps, bases = form.maps, form.bases
        if bases.key.rank:
            strength = maps.query.eta * maps.key.eta * balance.key
            shadow = self._coordinates(query, maps.query, strength * bases.key.vectors, own, "query")
            directed = self._coordinates(key, maps.key, bases.key.vectors / balance.key, own, "key")
            query, key = self._beside(query, shadow, number, "query"), self._beside(key, directed, number, "key")
        if bases.value.rank:
            phantom = self._coordinates(value, maps.value, bases.value.vectors * balance.value, own, "value")
            value = self._beside(value, phantom, number, "value")
        query = self.op("Mul", query, self.static_once("query_scale", torch.tensor(self.dim**-0.5)))
        key, value = self.multiplier(key), self.multiplier(value)
        attended = self._gated(self._attend(query, key, value, number, form), form, own, balance)
        joined = self.reshape(self.op("Transpose", attended, perm=[1, 0, 2]), self.tokens, self.heads * self.dim)
        return self._linear(joined, f"{own}o_proj.weight", config.hidden_size, self.heads * self.dim)

    def _headed(self, x: Value, name: str, heads: int) -> Value:
        """Reshapes a linear layer's output to heads (heads, N, d)."""
        bias = f"{name}.bias" if self.config.attention_bias else ""
        found = self._linear(x, f"{name}.weight", heads * self.dim, self.config.hidden_size, bias)
        return self.op("Transpose", self.reshape(found, self.tokens, heads, self.dim), perm=[1, 0, 2])

    def _turned(self, x: Value) -> Value:
        """Rotates heads, half against half: the sines of the first half are negative."""
        half = self.ints(self.dim // 2)
        first = self.op("Slice", x, self.ints(0), half, self.ints(2))
        second = self.op("Slice", x, half, self.ints(self.dim), self.ints(2))
        other = self.op("Concat", second, first, axis=-1)
        return self.op("Add", self.op("Mul", x, self.cosines), self.op("Mul", other, self.sines))

    def _beside(self, plain: Value, phantom: Value, number: int, what: str) -> Value:
        self.halves[number, what] = self.names[plain], self.names[phantom]
        return self.op("Concat", plain, phantom, axis=-1)

    def _coordinates(self, x: Value, folded: FoldedMap, basis: Tensor, own: str, what: str) -> Value:
        """Computes ``folded.direction(x) @ basis``."""
        name = f"{own}phantom_{what}"
        inner = self.gelu(self.op("MatMul", x, self.static(f"{name}.query", folded.query.T)))
        weights = self.op("Softmax", self.op("MatMul", inner, self.static(f"{name}.keys", folded.keys.T)), axis=-1)
        direction = self.gelu(self.op("MatMul", weights, self.static(f"{name}.values", folded.values)))
        return self.op("MatMul", direction, self.static(f"{name}.basis", basis))

    def _attend(self, query: Value, key: Value, value: Value, number: int, form: LayerForm) -> Value:
        """Attention heads (H, N, d + r_v) over cached and new rows; new ones become outputs."""
        widths = row_widths(self.config, form)
        for what, new, width in zip(("key", "value"), (key, value), widths, strict=True):
            self.integers_out(new, f"new_{what}.{number}", (self.kv_heads, self.tokens, width))
        key_width, value_width = widths
        past_key = self.integers_in(f"past_key.{number}", (self.kv_heads, key_width, self.context), key)
        past_value = self.integers_in(f"past_value.{number}", (self.kv_heads, self.context, value_width), value)
        key = self.op("Transpose", key, perm=[0, 2, 1])
        grouped = self.reshape(query, self.kv_heads, self.groups * self.tokens, key_width)
        here = f"layer.{number}"
        scores = [
            self.op("MatMul", grouped, keys, called=f"{here}.{SCORES}_{which}")
            for which, keys in zip(WHICH, (past_key, key), strict=True)
        ]
        both = self.op("Concat", *scores, axis=-1, called=f"{here}.{SCORES}")
        weights = self.op("Softmax", self.op("Add", both, self.mask, called=f"{here}.{MASKED}"), axis=-1)
        parts = self.ops("Split", weights, self.ints(self.context, self.tokens), outputs=2, axis=-1)
        mixed = [
            self.op("MatMul", part, values, called=f"{here}.{MIXED}_{which}")
            for which, part, values in zip(WHICH, parts, (past_value, value), strict=True)
        ]
        return self.reshape(self.op("Add", *mixed, called=f"{here}.{MIXED}"), self.heads, self.tokens, value_width)

    def _gated(self, mixed: Value, form: LayerForm, own: str, balance: Balance) -> Value:
        """Gates plain and phantom part of heads: see FoldedAttention."""
        basis, eta = form.bases.value, form.maps.value.eta
        plain_weight, phantom_weight, plain_bias, phantom_bias = gate_of(self.read, own)
        vectors, mean = basis.vectors.double(), basis.mean.double()
        plain = mixed
        if basis.rank:
            plain, coordinates = self.ops("Split", mixed, self.ints(self.dim, basis.rank), outputs=2, axis=-1)
        score = self.op("MatMul", plain, self.static(f"{own}gate.plain", (phantom_weight - plain_weight).T))
        if basis.rank:
            weight = (eta / balance.value * phantom_weight @ vectors).T
            score = self.op("Add", score, self.op("MatMul", coordinates, self.static(f"{own}gate.phantom", weight)))
        bias = phantom_bias - plain_bias + eta * phantom_weight @ mean
        gate = self.op("Sigmoid", self.op("Add", score, self.static(f"{own}gate.bias", bias)))
        if not basis.rank:
            change = self.static(f"{own}change.mean", eta * mean)
        else:
            back = eta / balance.value * vectors.T
            change = self.op("MatMul", coordinates, self.static(f"{own}change.vectors", back))
            if mean.any():
                change = self.op("Add", change, self.static(f"{own}change.mean", eta * mean))
        return self.op("Add", plain, self.op("Mul", gate, change))


class HeadDrawing(FixedDrawing):
    """Draws the head: from hidden states (tokens, hidden) to logits."""

    def __init__(
        self,
        config: PhantomTextConfig,
        read: Read,
        integers: QuantizedFiles | None,
        ranges: Ranges | None,
        tokens: int = 1,
    ) -> None:
        super().__init__("head", read, integers, ranges)
        draw_head(self, config, self.fixed(self.input("hidden", (tokens, config.hidden_size)), "hidden"), tokens)


def draw_head(drawing: FixedDrawing, config: PhantomTextConfig, hidden: Value, tokens: int) -> None:
    """Adds logits to the outputs of ``drawing``."""
    name = EMBEDDING if config.tie_word_embeddings else HEAD
    drawing.begin("head")
    logits = drawing.linear(hidden, name, [name], [config.vocab_size], config.hidden_size)
    drawing.output(logits, "logits", (tokens, config.vocab_size))

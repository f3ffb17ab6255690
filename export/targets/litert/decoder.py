"""The decoder as LiteRT graphs with the ports that LiteRT-LM's engine feeds: a chunk of a prompt, and one token.

The caches are inputs and, with the new rows written in, outputs of the same names, which may share memory. Rows of keys
and values are wider than a head: the phantom part lies inside them, unseen by the engine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from phantom_edge.export.parts.cache import row_widths
from phantom_edge.export.passes.fold import FoldedMap
from phantom_edge.export.passes.layer_form import LayerForm, gate_of
from phantom_edge.export.passes.rank import Basis
from phantom_edge.export.targets.litert.graph import Value
from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import EMBEDS, LOGITS, MASK, POSITIONS, cache_names
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.rotation import turns
from phantom_edge.export.targets.litert.weights import Weights
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD


@dataclass(frozen=True)
class Decoder:
    """Numbers and weights of a decoder: ``context`` tokens at most, read in chunks of ``chunk``.

    ``masked`` is added to the scores of what a token does not attend to: exact zeros after the softmax.
    """

    config: PhantomTextConfig
    forms: Sequence[LayerForm]
    weights: Weights
    context: int
    chunk: int
    masked: float

    @property
    def rows(self) -> int:
        """Rows of a cache: a chunk may begin at the last token, and writes past the end would be moved back."""
        return self.context + self.chunk

    def ports(self) -> Iterator[tuple[str, int]]:
        """Yields the caches' names, and the widths of their rows."""
        for layer, form in enumerate(self.forms):
            yield from zip(cache_names(layer), row_widths(self.config, form), strict=True)

    def draw(
        self,
        file: ModelFile,
        name: str,
        tokens: int,
        *,
        has_head: bool,
        kind: "type[DecoderGraph] | None" = None,
        first: int | None = None,
    ) -> Operators:
        """Draws the graph of ``tokens`` tokens: to their rows in the caches and, with a head, logits.

        They attend to the ``first`` rows of the caches alone where that is given: all of them stand there.
        """
        graph = (kind or DecoderGraph)(self, file, name, tokens, first or self.rows)
        graph.draw(has_head)
        graph.close()
        return graph


class DecoderGraph(Operators):
    """Draws one graph of a decoder; heads are (1, H, N, width)."""

    def __init__(self, own: Decoder, file: ModelFile, name: str, tokens: int, seen: int) -> None:
        super().__init__(file, name)
        config = own.config
        self.own, self.config, self.weights, self.tokens, self.seen = own, config, own.weights, tokens, seen
        self.heads, self.kv_heads, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.groups = self.heads // self.kv_heads
        self.embeds = self.input(EMBEDS, (1, tokens, config.hidden_size))
        self._places()
        self.caches = {port: self.input(port, (1, self.kv_heads, own.rows, width)) for port, width in own.ports()}
        self.new: dict[str, Value] = {}

    def _places(self) -> None:
        """Adds the inputs that say where tokens stand."""
        self.positions = self.input(POSITIONS, (self.tokens,), "int32")
        self.mask = self.input(MASK, (1, 1, self.tokens, self.seen))

    def draw(self, has_head: bool) -> None:
        """Draws all layers; without a head, no more of the last one than its rows."""
        self._prepare()
        hidden, last = self.embeds, len(self.own.forms) - 1
        for number, form in enumerate(self.own.forms):
            start = f"{DECODER}layers.{number}."
            normed = self._norm(hidden, f"{start}input_layernorm.weight")
            rows = self._rows(normed, number, form)
            self._keep(number, rows)
            if number == last and not has_head:
                break
            hidden = self.add(hidden, self._attended(normed, rows, number, form))
            hidden = self.add(hidden, self._mlp(self._norm(hidden, f"{start}post_attention_layernorm.weight"), start))
        for port, value in self.new.items():
            self.output(port, value)
        if has_head:
            self.output(LOGITS, self._logits(hidden))

    def _keep(self, number: int, rows: tuple[Value, Value]) -> None:
        """Writes a layer's new rows of keys and values into its caches."""
        for port, one in zip(cache_names(number), rows, strict=True):
            self.new[port] = self.updated(self.caches[port], one, self.start)

    def _prepare(self) -> None:
        """Draws what all layers share: rotations, the place of new rows, and the mask of every query."""
        own, config = self.own, self.config
        places = self.reshape(self.cast(self.positions, "float32"), 1, 1, self.tokens, 1)
        self.cosines, self.sines = turns(self, places, config, own.context)
        first = self.cut(self.positions, [0], [1])
        self.start = self.concat([self.ints(0, 0), first, self.ints(0)], 0)
        window, mask = config.sliding_window, self.mask
        if window is not None and window < self.seen:
            mask = self.add(mask, self._outside(places, window))
        self._spread(mask)

    def _spread(self, mask: Value) -> None:
        """Keeps the mask of all heads of a group, whose queries stand one behind another."""
        self.mask_of_groups = self.concat([mask] * self.groups, 2) if self.tokens > 1 and self.groups > 1 else mask

    def _outside(self, places: Value, window: int) -> Value:
        """Mask (1, 1, N, S) of rows that left the sliding window, by whole numbers in floats."""
        newest = self.held(f"newest of {self.seen}", np.arange(self.seen).reshape(1, 1, 1, -1) + window - 1)
        late = self.sub(places, newest)
        zero, one = (self.held(name, np.full((1, 1, 1, 1), value)) for name, value in (("zero", 0), ("one", 1)))
        left = self.least(self.most(late, zero), one)
        return self.mul(left, self.held("hidden", np.full((1, 1, 1, 1), self.own.masked)))

    def _norm(self, x: Value, name: str) -> Value:
        """RMSNorm."""
        eps = self.held("rms_norm_eps", np.full((1, 1, 1), self.config.rms_norm_eps))
        inverse = self.rsqrt(self.add(self.mean(self.mul(x, x)), eps))
        return self.mul(self.mul(x, inverse), self.weights.vector(self, name, self.config.hidden_size))

    def _linear(self, x: Value, name: str, rows: int, bias: str | None = None) -> Value:
        weight = self.weights.matrix(self, name, (rows, x.shape[-1]))
        return self.dense(x, weight, None if bias is None else self.weights.vector(self, bias, rows))

    def _mlp(self, x: Value, start: str) -> Value:
        gate, up = (
            self._linear(x, f"{start}mlp.{part}_proj.weight", self.config.intermediate_size) for part in ("gate", "up")
        )
        inner = self.mul(self.mul(gate, self.logistic(gate)), up)
        return self._linear(inner, f"{start}mlp.down_proj.weight", self.config.hidden_size)

    def _logits(self, hidden: Value) -> Value:
        name = EMBEDDING if self.config.tie_word_embeddings else HEAD
        return self._linear(self._norm(hidden, f"{DECODER}norm.weight"), name, self.config.vocab_size)

    def _projected(self, x: Value, number: int, part: str, heads: int) -> Value:
        name = f"{DECODER}layers.{number}.self_attn.{part}_proj"
        bias = f"{name}.bias" if self.config.attention_bias else None
        flat = self._linear(x, f"{name}.weight", heads * self.dim, bias)
        if self.tokens == 1:
            return self.reshape(flat, 1, heads, 1, self.dim)
        return self.transpose(self.reshape(flat, 1, self.tokens, heads, self.dim), 0, 2, 1, 3)

    def _turned(self, x: Value) -> Value:
        """Rotates heads, half against half."""
        first, second = self.split(x, [self.dim // 2] * 2)
        return self.add(self.mul(x, self.cosines), self.mul(self.concat([second, first], -1), self.sines))

    def _rows(self, x: Value, number: int, form: LayerForm) -> tuple[Value, Value]:
        """New rows of the cache."""
        name, maps, bases = f"{DECODER}layers.{number}.self_attn.", form.maps, form.bases
        key = self._turned(self._projected(x, number, "k", self.kv_heads))
        value = self._projected(x, number, "v", self.kv_heads)
        if bases.key.rank:
            found = self._coordinates(key, maps.key, bases.key, f"{name}phantom_key", f"{name}key_basis")
            key = self.concat([key, found], -1)
        if bases.value.rank:
            found = self._coordinates(value, maps.value, bases.value, f"{name}phantom_value", f"{name}value_basis")
            value = self.concat([value, found], -1)
        return key, value

    def _coordinates(self, x: Value, folded: FoldedMap, basis: Basis, name: str, basis_name: str) -> Value:
        """Coordinates of ``folded.direction(x)``."""
        inner = self.gelu(self.dense(x, self.held(f"{name}.query", folded.query)))
        weights = self.softmax(self.dense(inner, self.held(f"{name}.keys", folded.keys)))
        direction = self.gelu(self.dense(weights, self.held(f"{name}.values", folded.values.T)))
        return direction if basis.is_whole else self.dense(direction, self.held(basis_name, basis.vectors.T))

    def _query(self, x: Value, number: int, form: LayerForm) -> Value:
        """Queries over sqrt(d), with the coordinates for the phantom part of keys."""
        name, maps, basis = f"{DECODER}layers.{number}.self_attn.", form.maps, form.bases.key
        scale = self.dim**-0.5
        query = self._turned(self._projected(x, number, "q", self.heads))
        plain = self.mul(query, self.held("scale", np.full((1, 1, 1, 1), scale)))
        if not basis.rank:
            return plain
        strength = scale * maps.query.eta * maps.key.eta
        scaled = Basis(strength * basis.vectors, basis.mean)
        shadow = self._coordinates(query, maps.query, scaled, f"{name}phantom_query", f"{name}shadow")
        if basis.is_whole:
            shadow = self.mul(shadow, self.held(f"{name}strength", np.full((1, 1, 1, 1), strength)))
        return self.concat([plain, shadow], -1)

    def _mixed(self, query: Value, rows: tuple[Value, Value], number: int) -> Value:
        """Values that queries attend to, over the caches with the new rows in them."""
        keys, values = (self._seen(self.new[port]) for port in cache_names(number))
        scores = self.add(self.product(query, keys, turned=True), self.mask_of_groups)
        return self.product(self.softmax(scores), values)

    def _seen(self, rows: Value) -> Value:
        shape = (*rows.shape[:2], self.seen, rows.shape[-1])
        return rows if shape == rows.shape else self.cut(rows, [0] * 4, shape)

    def _attended(self, x: Value, rows: tuple[Value, Value], number: int, form: LayerForm) -> Value:
        """Attention of new tokens over all that were read; ``rows`` are their own."""
        name, tokens = f"{DECODER}layers.{number}.self_attn.", self.tokens
        query = self._query(x, number, form)
        query = self.reshape(query, 1, self.kv_heads, self.groups * tokens, query.shape[-1])
        mixed = self._mixed(query, rows, number)
        mixed = self.reshape(mixed, 1, self.heads, tokens, mixed.shape[-1])
        gated = self._gated(mixed, form, name)
        if tokens > 1:
            gated = self.transpose(gated, 0, 2, 1, 3)
        flat = self.reshape(gated, 1, tokens, self.heads * self.dim)
        return self._linear(flat, f"{name}o_proj.weight", self.config.hidden_size)

    def _gated(self, mixed: Value, form: LayerForm, own: str) -> Value:
        """Gates plain and phantom part of ``mixed`` (1, H, N, d + r_v) to (1, H, N, d): see FoldedAttention."""
        basis, eta = form.bases.value, form.maps.value.eta
        plain_weight, phantom_weight, plain_bias, phantom_bias = gate_of(self.weights.read, own)
        vectors, mean = basis.vectors.double(), basis.mean.double()
        weight = torch.cat([phantom_weight - plain_weight, eta * phantom_weight @ vectors], dim=-1)  # (1, d + r_v)
        bias = phantom_bias - plain_bias + eta * phantom_weight @ mean
        score = self.dense(mixed, self.held(f"{own}gate.weight", weight), self.held(f"{own}gate.bias", bias))
        gate = self.logistic(score)
        if not basis.rank:
            plain, change = mixed, self.held(f"{own}change.mean", (eta * mean).reshape(1, 1, 1, -1))
        else:
            plain, coordinates = self.split(mixed, [self.dim, basis.rank])
            change = self.dense(
                coordinates,
                self.held(f"{own}change.vectors", eta * vectors),
                self.held(f"{own}change.mean", eta * mean),
            )
        return self.add(plain, self.mul(gate, change))

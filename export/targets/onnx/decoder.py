"""The decoder as an ONNX graph of standard operators, with the cache in the caller's own buffers.

Every key-value head has a buffer of its own, a row a token. The graph reads the filled rows in place and writes the new
ones into the rows that follow, which the caller binds as outputs: nothing is copied, nothing grows. Scores are
``K q^T`` with the cached keys as the left operand, which CPU kernels stream through without packing them first.
"""

from collections.abc import Sequence
from functools import partial

import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from phantom_edge.bundle import node_names as places
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.export.parts.cache import row_widths
from phantom_edge.export.passes.layer_form import LayerForm, Read
from phantom_edge.export.targets.onnx.graph import TYPES
from phantom_edge.export.targets.onnx.phantom import PhantomDrawing
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD


def cache_inputs(layer: int, head: int) -> tuple[str, str]:
    """Returns the input names of a head's cached keys and values; those of new rows have ``new`` for ``past``."""
    return f"past_key.{layer}.{head}", f"past_value.{layer}.{head}"


class DecoderDrawing(PhantomDrawing):
    """Draws a decoder. Activations are (N, width): one prompt, N new tokens after P cached ones."""

    def __init__(
        self,
        config: PhantomTextConfig,
        forms: Sequence[LayerForm],
        tables: tuple[Tensor, Tensor],
        read: Read,
        dtype: torch.dtype,
        integers: QuantizedFiles | None = None,
        *,
        rounds_cache: bool = False,
        opset_only: bool = False,
    ) -> None:
        super().__init__("decoder", dtype, read, integers, opset_only=opset_only)
        self.config = config
        self.dim, self.kv_heads = config.head_dim, config.num_key_value_heads
        self.groups = config.num_attention_heads // self.kv_heads
        self.new: dict[str, Value] = {}
        self.new_scales: list[Value] = []
        embeds = self.input("inputs_embeds", ("N", config.hidden_size))
        self.positions = self.input("position_ids", (1, "N"), ir.DataType.INT64)
        keep = self.input("logits_to_keep", ("R",), ir.DataType.INT64)
        self.rows = ir.DataType.INT8 if rounds_cache else None
        with self.within(places.ATTENTION):
            self.past = self._past(forms)
        self.scales = [
            self.input(f"past_scale.{layer}", ("P", 2 * self.kv_heads)) for layer in range(len(forms)) if rounds_cache
        ]
        self.tables = [self.held(name, table) for name, table in zip(("cosines", "sines"), tables, strict=True)]
        window = config.sliding_window
        with self.within(places.ATTENTION):
            self._prepare(window if window is not None and window < len(tables[0]) else None)
        hidden = embeds
        for number, form in enumerate(forms):
            with self.within(f"layers.{number}"):
                hidden = self._layer(hidden, number, form)
        with self.within(places.NORMS):
            hidden = self.asked = self._norm(self.op("Gather", hidden, keep, axis=0), f"{DECODER}norm.weight")
        head = EMBEDDING if config.tie_word_embeddings else HEAD
        with self.within(places.HEAD):
            logits = self.linear(
                hidden, head, [head], [config.vocab_size], config.hidden_size, is_table=config.tie_word_embeddings
            )
        self.output(logits, "logits", ("R", config.vocab_size))
        with self.within(places.ATTENTION):
            self._hand_out()

    def _prepare(self, window: int | None) -> None:
        """Draws what all layers share: lengths and masks."""
        past = self.op("Shape", self.past[cache_inputs(0, 0)[0]])
        self.past_length = self.op("Slice", past, self.ints(0), self.ints(1))
        columns = self.op("Mul", self._length(), self.ints(self.groups))  # no -1, which no keys leave open
        self.together = self.op("Concat", self.ints(0), columns, axis=0)
        self.new_mask = self._mask(self.reshape(self.positions, -1, 1), window)
        self.past_mask = self._mask_of_past(past, window)

    def _past(self, forms: Sequence[LayerForm]) -> dict[str, Value]:
        """Makes inputs of the cached rows of every head."""
        return {
            name: self.input(name, ("P", width), self.rows)
            for layer, form in enumerate(forms)
            for head in range(self.kv_heads)
            for name, width in zip(cache_inputs(layer, head), row_widths(self.config, form), strict=True)
        }

    def _hand_out(self) -> None:
        """Make outputs of the new rows, in the form of the cached inputs."""
        for name, value in self.new.items():
            self.output(value, name, ("N", self.past[name.replace("new_", "past_")].shape[1]), self.rows)
        for layer, value in enumerate(self.new_scales):
            self.output(value, f"new_scale.{layer}", ("N", 2 * self.kv_heads))

    def _length(self) -> Value:
        """[N]."""
        return self.op("Slice", self.op("Shape", self.positions), self.ints(1), self.ints(2))

    def _mask_of_past(self, past_shape: Value, window: int | None) -> Value | None:
        """Returns the mask of cached rows; None where every query attends to all of them."""
        return None if window is None else self._mask(self._past_positions(past_shape), window)

    def _past_positions(self, past_shape: Value) -> Value:
        """Returns the cached positions (P, 1), from 0 on."""
        count = self.op("Gather", past_shape, self.scalar(0))
        return self.reshape(self.op("Range", self.scalar(0), count, self.scalar(1)), -1, 1)

    def _mask(self, keys: Value, window: int | None) -> Value:
        """Mask (keys, N G) to add to scores: 0 where a query attends, else about the least number of its format."""
        hidden = self.op("Greater", keys, self.positions)
        if window is not None:
            oldest = self.op("Sub", self.positions, self.scalar(window))
            hidden = self.op("Or", hidden, self.op("LessOrEqual", keys, oldest))
        least = self.held_once("least", torch.tensor(torch.finfo(self.dtype).min / 2))
        masked = self.op("Where", hidden, least, self.held_once("zero", torch.tensor(0.0)))
        masked = self.op("Expand", self.op("Unsqueeze", masked, self.ints(2)), self.ints(1, 1, self.groups))
        return self.op("Reshape", masked, self.together)

    def _norm(self, x: Value, name: str) -> Value:
        weight = self.weight(name, (self.config.hidden_size,), partial(self.read, name))
        return self.op("RMSNormalization", x, weight, axis=-1, epsilon=self.config.rms_norm_eps)

    def _layer(self, hidden: Value, number: int, form: LayerForm) -> Value:
        start = f"{DECODER}layers.{number}."
        with self.within(places.NORMS):
            normed = self._norm(hidden, f"{start}input_layernorm.weight")
        attended = self._attention(normed, number, form)
        with self.within(places.NORMS):
            hidden = self.op("Add", hidden, attended)
            normed = self._norm(hidden, f"{start}post_attention_layernorm.weight")
        with self.within(places.MLP):
            changed = self._mlp(normed, start)
        with self.within(places.NORMS):
            return self.op("Add", hidden, changed)

    def _mlp(self, x: Value, start: str) -> Value:
        width, inner = self.config.hidden_size, self.config.intermediate_size
        names = [f"{start}mlp.{part}_proj.weight" for part in ("gate", "up", "down")]
        both = self.linear(x, f"{start}mlp.gate_up.weight", names[:2], [inner, inner], width)
        gate, up = self.ops("Split", both, outputs=2, axis=-1, num_outputs=2)
        silu = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self.linear(self.op("Mul", silu, up), names[2], names[2:], [width], inner)

    def _attention(self, x: Value, number: int, form: LayerForm) -> Value:
        config, own = self.config, f"{DECODER}layers.{number}.self_attn."
        is_scaled = not any(self.scheme(f"{own}{part}_proj.weight") for part in "qkv")  # integers are not touched
        with self.within(places.PROJECTIONS):
            turning, value = self._projected(x, own, is_scaled)
        scale = self.dim**-0.5
        with self.within(places.ATTENTION):
            turned = self._rotated(turning, config.num_attention_heads + self.kv_heads)
            heads = self.ints(config.num_attention_heads, self.kv_heads)
            plain, key = self.ops("Split", turned, heads, outputs=2, axis=1)  # (N, heads, d)
            query = plain if is_scaled else self.op("Mul", plain, self.held_once("scale", torch.tensor(scale)))
        with self.within(places.PHANTOM):
            if form.bases.key.rank:
                query = self._beside_shadow(query, plain, form, own, scale if is_scaled else 1.0)
            key, value = self._beside_phantoms(key, value, form, own)
        with self.within(places.ATTENTION):
            mixed = self._heads(query, key, value, number, form)
        with self.within(places.PHANTOM):
            gated = self._gated(mixed, form, own)
        width, name = config.num_attention_heads * self.dim, f"{own}o_proj.weight"
        with self.within(places.PROJECTIONS):
            return self.linear(self.reshape(gated, 0, width), name, [name], [config.hidden_size], width)

    def _projected(self, x: Value, own: str, is_scaled: bool) -> tuple[Value, Value]:
        """Projects queries (over sqrt(d) if ``is_scaled``) and keys (N, (H + H_kv) d), and values (N, H_kv, d)."""
        config, dim = self.config, self.dim
        wide, narrow = config.num_attention_heads * dim, self.kv_heads * dim

        def scaled(what: str) -> Tensor:
            query, key, value = (self.read(f"{own}{part}_proj.{what}").float() for part in ("q", "k", "v"))
            return torch.cat([query * dim**-0.5 if is_scaled else query, key, value])

        bias, rows, name = None, (wide, narrow, narrow), f"{own}qkv"
        if config.attention_bias:
            bias = self.weight(f"{name}.bias", (sum(rows),), partial(scaled, "bias"))
        if is_scaled:
            weight = self.weight(f"{name}.weight", (sum(rows), config.hidden_size), partial(scaled, "weight"))
            three = self.op("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
        else:
            names = [f"{own}{part}_proj.weight" for part in "qkv"]
            three = self.linear(x, f"{name}.weight", names, rows, config.hidden_size, bias)
        turning, value = self.ops("Split", three, self.ints(wide + narrow, narrow), outputs=2, axis=-1)
        return turning, self.reshape(value, 0, self.kv_heads, dim)

    def _rotated(self, x: Value, heads: int) -> Value:
        """Rotates (N, heads d) to (N, heads, d)."""
        x = self.op("Unsqueeze", x, self.ints(0))
        turned = self.op("RotaryEmbedding", x, *self.tables, self.positions, num_heads=heads)
        return self.reshape(turned, -1, heads, self.dim)

    def _heads(self, query: Value, key: Value, value: Value, number: int, form: LayerForm) -> Value:
        """Attention (N, H, d + r_v) of queries (N, H, d + r_k) over cached and new rows; new ones become outputs."""
        key_width, value_width = row_widths(self.config, form)
        keys, values = self._each(key), self._each(value)
        self._keep(key, value, keys, values, number)
        key_scales, value_scales = self._row_scales(number)
        found = []
        for head, queries in enumerate(self._each(query)):
            past_key, past_value = (self._float_rows(self.past[name]) for name in cache_inputs(number, head))
            rows = self.reshape(queries, -1, key_width)  # (N G, e)
            over_past = self._scores(past_key, rows, self.past_mask, key_scales[head] if key_scales else None)
            over_new = self._scores(keys[head], rows, self.new_mask)
            scores = self.op("Transpose", self.op("Concat", over_past, over_new, axis=0), perm=[1, 0])
            weights = self.op("Softmax", scores, axis=-1)  # (N G, P + N)
            of_past, of_new = self._parted(weights)
            if value_scales:
                of_past = self.rounding("Mul", of_past, self.reshape(value_scales[head], 1, -1))
            mixed = self.op("Add", self.op("MatMul", of_past, past_value), self.op("MatMul", of_new, values[head]))
            found.append(self.reshape(mixed, -1, self.groups, value_width))
        return found[0] if len(found) == 1 else self.op("Concat", *found, axis=1)

    def _parted(self, weights: Value) -> Sequence[Value]:
        """Splits attention weights (N G, P + N) into those of cached and of new rows."""
        if ("counts",) not in self.constants:
            self.constants["counts",] = self.op("Concat", self.past_length, self._length(), axis=0)
        return self.ops("Split", weights, self.constants["counts",], outputs=2, axis=1)

    def _scores(self, keys: Value, queries: Value, mask: Value | None, scales: Value | None = None) -> Value:
        """Masked scores (K, N G) of ``keys`` (K, e) and a head's queries (N G, e)."""
        if scales is None:
            return self.op("Gemm", keys, queries, *([] if mask is None else [mask]), transB=1)
        found = self.rounding("Mul", self.op("Gemm", keys, queries, transB=1), scales)
        return found if mask is None else self.op("Add", found, mask)

    def _keep(self, key: Value, value: Value, keys: Sequence[Value], values: Sequence[Value], number: int) -> None:
        """Make outputs of the new rows: (N, H_kv, width), or the lists by heads where these exist already."""
        if self.rows is not None:
            (key, key_scales), (value, value_scales) = self._rounded_rows(key), self._rounded_rows(value)
            self.new_scales.append(self.reshape(self.op("Concat", key_scales, value_scales, axis=1), 0, -1))
            keys, values = self._each(key), self._each(value)
        for what, rows in (("key", keys), ("value", values)):
            self.new |= {f"new_{what}.{number}.{head}": one for head, one in enumerate(rows)}

    def _rounded_rows(self, rows: Value) -> tuple[Value, Value]:
        """Returns int8 rows and their scales (N, H_kv, 1): a row's largest magnitude becomes 127."""
        scales = self.row_scales(rows)
        whole = self.rounding("Round", self.rounding("Div", rows, scales))
        return self.rounding("Cast", whole, to=self.rows), scales

    def _row_scales(self, number: int) -> tuple[Sequence[Value], Sequence[Value]]:
        """Scales (P, 1) of a layer's cached keys and values, per head; empty where rows are not rounded."""
        if self.rows is None:
            return (), ()
        count = 2 * self.kv_heads
        found = self.ops("Split", self.scales[number], outputs=count, axis=1, num_outputs=count)
        return found[: self.kv_heads], found[self.kv_heads :]

    def _float_rows(self, rows: Value) -> Value:
        return rows if self.rows is None else self.rounding("Cast", rows, to=TYPES[self.dtype])

    def _each(self, x: Value) -> Sequence[Value]:
        """Splits ``x`` (N, heads, width) by kv heads: (N, heads / H_kv * width) each."""
        x = self.reshape(x, 0, -1)
        return (
            [x]
            if self.kv_heads == 1
            else self.ops("Split", x, outputs=self.kv_heads, axis=1, num_outputs=self.kv_heads)
        )

"""The decoder as an ONNX graph: of standard operators, or with those of ONNX Runtime where it is quantized."""

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
from phantom_edge.export.targets.onnx.attention import AttentionDrawing, cache_inputs
from phantom_edge.export.targets.onnx.phantom import Query
from phantom_edge.export.targets.onnx.two_forms import TwoFormDrawing
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD


class DecoderDrawing(TwoFormDrawing, AttentionDrawing):
    """Draws a decoder. Activations are (N, width): one prompt, N new tokens after P cached ones.

    ``gives_hidden``: the hidden states that the head reads are an output, too. ``has_bytes``: weights of scheme exact8
    are drawn in two forms.
    """

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
        gives_hidden: bool = False,
        has_bytes: bool = False,
    ) -> None:
        super().__init__("decoder", dtype, read, integers, opset_only=opset_only)
        self.config = config
        self.dim, self.kv_heads = config.head_dim, config.num_key_value_heads
        self.heads = config.num_attention_heads
        self.groups = self.heads // self.kv_heads
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
            if has_bytes:
                self.many = self.op("Greater", self._length(), self.ints(1))
        hidden, change = embeds, None
        for number, form in enumerate(forms):
            with self.within(f"layers.{number}"):
                hidden, change = self._layer(hidden, change, number, form)
        with self.within(places.NORMS):
            whole = hidden if change is None else self.op("Add", hidden, change)
            hidden = self.asked = self._norm(self.op("Gather", whole, keep, axis=0), f"{DECODER}norm.weight")
        head = EMBEDDING if config.tie_word_embeddings else HEAD
        with self.within(places.HEAD):
            logits = self.linear(
                hidden, head, [head], [config.vocab_size], config.hidden_size, is_table=config.tie_word_embeddings
            )
        self.output(logits, "logits", ("R", config.vocab_size))
        if gives_hidden:
            self.output(hidden, "hidden", ("R", config.hidden_size))
        with self.within(places.ATTENTION):
            self._hand_out()

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

    def _norm(self, x: Value, name: str) -> Value:
        return self.op("RMSNormalization", x, self._norm_weight(name), axis=-1, epsilon=self.config.rms_norm_eps)

    def _norm_weight(self, name: str) -> Value:
        return self.weight(name, (self.config.hidden_size,), partial(self.read, name))

    def _normed_sum(self, hidden: Value, change: Value, name: str) -> tuple[Value, Value]:
        """``hidden + change``, and its norm: one operator of ONNX Runtime beside its own linear layers."""
        if self.integers is not None and not self.opset_only:
            return self._skip_norm(hidden, change, name)
        whole = self.op("Add", hidden, change)
        return whole, self._norm(whole, name)

    def _skip_norm(self, hidden: Value, change: Value, name: str) -> tuple[Value, Value]:
        self.opsets["com.microsoft"] = 1
        kind = "SkipSimplifiedLayerNormalization"
        normed, mean, deviation, whole = self.tape.op_multi_out(
            kind,
            [hidden, change, self._norm_weight(name)],
            {"epsilon": self.config.rms_norm_eps},
            num_outputs=4,
            domain="com.microsoft",
            name=self.called(kind),
        )
        mean.name = deviation.name = ""
        return whole, normed

    def _layer(self, hidden: Value, change: Value | None, number: int, form: LayerForm) -> tuple[Value, Value]:
        """A layer over ``hidden + change``: the sum before its MLP, and what that adds to it."""
        start = f"{DECODER}layers.{number}."
        with self.within(places.NORMS):
            name = f"{start}input_layernorm.weight"
            if change is None:
                normed = self._norm(hidden, name)
            else:
                hidden, normed = self._normed_sum(hidden, change, name)
        attended = self._attention(normed, number, form)
        with self.within(places.NORMS):
            hidden, normed = self._normed_sum(hidden, attended, f"{start}post_attention_layernorm.weight")
        with self.within(places.MLP):
            return hidden, self._mlp(normed, start)

    def _mlp(self, x: Value, start: str) -> Value:
        width, inner = self.config.hidden_size, self.config.intermediate_size
        names = [f"{start}mlp.{part}_proj.weight" for part in ("gate", "up", "down")]
        both = self.linear(x, f"{start}mlp.gate_up.weight", names[:2], [inner, inner], width)
        gate, up = self.ops("Split", both, outputs=2, axis=-1, num_outputs=2)
        silu = self.op("Mul", gate, self.op("Sigmoid", gate))
        return self.linear(self.op("Mul", silu, up), names[2], names[2:], [width], inner)

    def _attention(self, x: Value, number: int, form: LayerForm) -> Value:
        own = f"{DECODER}layers.{number}.self_attn."
        is_scaled = not any(self.scheme(f"{own}{part}_proj.weight") for part in "qkv")  # integers are not touched
        with self.within(places.PROJECTIONS):
            turning, value = self._projected(x, own, is_scaled)
        with self.within(places.ATTENTION):
            turned = self._rotated(turning, self.heads + self.kv_heads)
            query, key = self.ops("Split", turned, self.ints(self.heads, self.kv_heads), outputs=2, axis=1)
            asking, rest = self._asking(query, is_scaled)
        with self.within(places.PHANTOM):
            joined = self._widened(asking, key, value, form, own)
        with self.within(places.ATTENTION):
            rows = [one for parts, both in joined for one in self._by_heads(parts, both)]
            mixed = self._heads(rows, number, form, rest)
        with self.within(places.PHANTOM):
            gated = self._gated(mixed, form, own)
        width, name = self.heads * self.dim, f"{own}o_proj.weight"
        with self.within(places.PROJECTIONS):
            return self.linear(self._by_token(gated), name, [name], [self.config.hidden_size], width)

    def _asking(self, query: Value, is_scaled: bool) -> tuple[Query, float]:
        """The queries to ask with, and what is left to multiply scores by: half floats would overflow before that."""
        scale = self.dim**-0.5
        if is_scaled:
            return Query(query, query, scale, scale), 1.0
        if self.dtype == torch.float32:
            return Query(query, query, 1.0, 1.0), scale
        return Query(self.op("Mul", query, self.held_once("scale", torch.tensor(scale))), query, 1.0, scale), 1.0

    def _projected(self, x: Value, own: str, is_scaled: bool) -> tuple[Value, Value]:
        """Projects queries (over sqrt(d) if ``is_scaled``) and keys (N, (H + H_kv) d), and values (N, H_kv, d)."""
        config, dim = self.config, self.dim
        wide, narrow = self.heads * dim, self.kv_heads * dim

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

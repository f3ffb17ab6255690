"""The decoder as functions of a Core ML package: a chunk of a prompt, one token, and the head alone.

For the GPU the cache is state that a function updates in place; for the Neural Engine it is a read-only input, and new
rows are outputs, which the host writes into it.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phantom_edge.bundle.part import Port
from phantom_edge.export.parts.cache import row_widths
from phantom_edge.export.passes.fold import FoldedMap
from phantom_edge.export.passes.layer_form import LayerForm, Read, gate_of
from phantom_edge.export.passes.rank import Basis
from phantom_edge.export.targets.coreml.graph import Drawing, Graph, port
from phantom_edge.export.targets.coreml.layouts import PRODUCT, Layout
from phantom_edge.export.targets.coreml.weights import Weights
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD

WIDEST = 16384
"""Maximum size of a dimension on the Neural Engine."""

PREFILL, DECODE, ONLY_HEAD = "prefill", "decode", "head"


def query_scale(config: PhantomTextConfig, form: LayerForm, *, is_fused: bool) -> float:
    """Returns the queries' factor, a float16 number; the fused operator divides by the root of its own width."""
    scale = config.head_dim**-0.5
    if is_fused:
        scale *= math.sqrt(config.head_dim + form.bases.key.rank)
    return float(torch.tensor(scale).half())


class DecoderFunctions:
    """Draws the functions of one decoder. ``context`` is the cache's length."""

    def __init__(
        self,
        config: PhantomTextConfig,
        forms: Sequence[LayerForm],
        weights: Weights,
        context: int,
        layout: type[Layout],
    ) -> None:
        self.config, self.forms, self.weights, self.context, self.layout = config, forms, weights, context, layout
        self.heads, self.kv_heads, self.dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.groups = self.heads // self.kv_heads

    def draw_steps(self, package: Drawing, name: str, tokens: int, *, has_head: bool) -> None:
        """Draws a function of ``tokens`` tokens: to logits of the last, or hidden states of all after the last norm."""
        caches = self._caches(tokens)
        states = caches if self.layout.is_fused else []
        package.function(
            name, [*self._ports(tokens), *([] if states else caches)], states, partial(self._steps, has_head)
        )

    def draw_head(self, package: Drawing, name: str) -> None:
        """Draws a function from a hidden state to its logits."""
        layout, shape = self.layout, self.layout.shape(1, self.config.hidden_size)
        package.function(
            name, [port("hidden", shape)], [], lambda graph: self._logits(layout(graph, self.weights), graph["hidden"])
        )

    def _ports(self, tokens: int) -> list[Port]:
        """Returns the inputs beside the cache."""
        layout, half = self.layout, self.dim // 2
        mask = (1, 1, tokens, self.context) if layout.is_fused else (1, self.context + tokens, 1, tokens)
        found = [
            port("inputs_embeds", layout.shape(tokens, self.config.hidden_size)),
            port("cosines", layout.table_shape(tokens, half)),
            port("sines", layout.table_shape(tokens, half)),
            port("mask", mask),
        ]
        return [*found, port("start", (1,), "int32")] if layout.is_fused else found

    def _caches(self, tokens: int) -> list[Port]:
        found = []
        for number, form in enumerate(self.forms):
            key, value = row_widths(self.config, form)
            if self.layout.is_fused:
                found.append(port(f"key_{number}", (1, self.kv_heads, self.context, key)))
                found.append(port(f"value_{number}", (1, self.kv_heads, self.context, value)))
            else:
                found.append(port(f"past_key_{number}", (1, self.context, self.kv_heads, key)))
                found.append(port(f"past_value_{number}", (1, value, self.kv_heads, self.context)))
        return found

    def _steps(self, has_head: bool, graph: Graph) -> Mapping[str, Any]:
        steps = _Steps(self, self.layout(graph, self.weights))
        hidden = graph["inputs_embeds"]
        for number, form in enumerate(self.forms):
            hidden = steps.layer(hidden, number, form)
        hidden = steps.norm(hidden, f"{DECODER}norm.weight")
        found = self._logits(steps.layout, hidden) if has_head else {"hidden": hidden}
        return {**found, **steps.new}

    def _logits(self, layout: Layout, hidden: Any) -> Mapping[str, Any]:
        """Logits in one piece, or in pieces that fit the Neural Engine; the last may extend beyond the vocabulary."""
        name = EMBEDDING if self.config.tie_word_embeddings else HEAD
        words = self.config.vocab_size
        if layout.is_fused:
            return {"logits": layout.linear(hidden, name)}
        spans = [(start, min(start + WIDEST, words)) for start in range(0, words, WIDEST)]
        return {
            f"logits_{number}": layout.linear(hidden, name, span=span if len(spans) > 1 else None)
            for number, span in enumerate(spans)
        }


class _Steps:
    """Layers inside one function; ``new`` are its rows for the cache, by the names of outputs."""

    def __init__(self, own: DecoderFunctions, layout: Layout) -> None:
        self.own, self.layout, self.graph, self.mb = own, layout, layout.graph, layout.mb
        self.read = own.weights.read
        self.new: dict[str, Any] = {}
        self.mask = self.graph["mask"]
        if own.groups > 1:
            self.mask = self.mb.concat(values=[self.mask] * own.groups, axis=layout.place)
        if layout.is_fused:
            tokens = self.graph["inputs_embeds"].shape[1]
            start = self.graph["start"]
            zeros, zero = np.zeros(2, np.int32), np.zeros(1, np.int32)
            self.begin = self.mb.concat(values=[zeros, start, zero], axis=0)
            self.end_place = self.mb.add(x=start, y=np.array([tokens], np.int32))

    def norm(self, x: Any, name: str) -> Any:
        """RMSNorm as LayerNorm of ``[x, -x]``, whose mean is 0: no square is computed outside of one operator."""
        axis, eps = self.layout.feature, np.float16(self.own.config.rms_norm_eps)
        both = self.mb.concat(values=[x, self.mb.mul(x=x, y=np.float16(-1))], axis=axis)
        both = self.mb.layer_norm(x=both, axes=[axis], epsilon=eps)
        first, _ = self.mb.split(x=both, num_splits=2, axis=axis)
        return self.mb.mul(x=first, y=self.layout.vector(name, self.read(name)))

    def layer(self, hidden: Any, number: int, form: LayerForm) -> Any:
        """One layer."""
        start = f"{DECODER}layers.{number}."
        attended = self._attention(self.norm(hidden, f"{start}input_layernorm.weight"), number, form)
        hidden = self.mb.add(x=hidden, y=attended)
        return self.mb.add(x=hidden, y=self._mlp(self.norm(hidden, f"{start}post_attention_layernorm.weight"), start))

    def _mlp(self, x: Any, start: str) -> Any:
        gate, up = (self.layout.linear(x, f"{start}mlp.{part}_proj.weight") for part in ("gate", "up"))
        inner = self.mb.mul(x=self.mb.silu(x=gate), y=up)
        return self.layout.linear(inner, f"{start}mlp.down_proj.weight")

    def _attention(self, x: Any, number: int, form: LayerForm) -> Any:
        own, layout, name = self.own, self.layout, f"{DECODER}layers.{number}.self_attn."
        counts = {"q": own.heads, "k": own.kv_heads, "v": own.kv_heads}
        query, key, value = (
            layout.heads(
                layout.linear(
                    x, f"{name}{part}_proj.weight", f"{name}{part}_proj.bias" if own.config.attention_bias else None
                ),
                count,
            )
            for part, count in counts.items()
        )
        query, key = self._turned(query), self._turned(key)
        maps, bases = form.maps, form.bases
        if bases.key.rank:
            shadow = self._coordinates(query, maps.query, bases.key, f"{name}phantom_query", f"{name}key_basis")
            strength = np.float16(maps.query.eta * maps.key.eta)
            query = self._beside(query, shadow if strength == 1 else self.mb.mul(x=shadow, y=strength))
            key = self._beside(
                key, self._coordinates(key, maps.key, bases.key, f"{name}phantom_key", f"{name}key_basis")
            )
        if bases.value.rank:
            value = self._beside(
                value, self._coordinates(value, maps.value, bases.value, f"{name}phantom_value", f"{name}value_basis")
            )
        query = self.mb.mul(x=query, y=np.float16(query_scale(own.config, form, is_fused=layout.is_fused)))
        attend = self._over_state if layout.is_fused else self._over_inputs
        gated = self._gated(attend(query, key, value, number), form, name)
        return layout.linear(layout.joined(gated), f"{name}o_proj.weight")

    def _turned(self, x: Any) -> Any:
        """Rotates tokens, half against half."""
        mb, axis = self.mb, self.layout.feature
        first, second = mb.split(x=x, num_splits=2, axis=axis)
        cosines, sines = self.graph["cosines"], self.graph["sines"]
        turned = [
            mb.sub(x=mb.mul(x=first, y=cosines), y=mb.mul(x=second, y=sines)),
            mb.add(x=mb.mul(x=second, y=cosines), y=mb.mul(x=first, y=sines)),
        ]
        return mb.concat(values=turned, axis=axis)

    def _coordinates(self, x: Any, folded: FoldedMap, basis: Basis, name: str, basis_name: str) -> Any:
        """Coordinates of ``folded.direction(x)``."""
        mixed, mb = self.layout.mixed, self.mb
        inner = mb.gelu(x=mixed(x, f"{name}.query", folded.query.T))
        weights = mb.softmax(x=mixed(inner, f"{name}.keys", folded.keys.T), axis=self.layout.feature)
        direction = mb.gelu(x=mixed(weights, f"{name}.values", folded.values))
        return direction if basis.is_whole else mixed(direction, basis_name, basis.vectors)

    def _beside(self, plain: Any, phantom: Any) -> Any:
        return self.mb.concat(values=[plain, phantom], axis=self.layout.feature)

    def _over_state(self, query: Any, key: Any, value: Any, number: int) -> Any:
        """Attention over the cache with the new rows in it: heads (1, H, N, d + r_v)."""
        mb, own = self.mb, self.own
        _, _, tokens, width = query.shape
        query = mb.reshape(x=query, shape=[1, own.kv_heads, own.groups * tokens, width])
        found = mb.scaled_dot_product_attention(
            query=query,
            key=self._updated(f"key_{number}", key),
            value=self._updated(f"value_{number}", value),
            attn_mask=self.mask,
        )
        return mb.reshape(x=found, shape=[1, own.heads, tokens, found.shape[3]])

    def _updated(self, name: str, rows: Any) -> Any:
        """Writes ``rows`` at their place and returns the state."""
        mb, own, state = self.mb, self.own, self.graph[name]
        first = np.array([1, own.kv_heads], np.int32)
        end = mb.concat(values=[first, self.end_place, np.array([rows.shape[3]], np.int32)], axis=0)
        new = mb.slice_update(x=mb.read_state(input=state), update=rows, begin=self.begin, end=end)
        return mb.coreml_update_state(state=state, value=new)

    def _over_inputs(self, query: Any, key: Any, value: Any, number: int) -> Any:
        """Attention over cached rows and new ones, kv head by kv head: heads (1, d + r_v, H, N)."""
        mb, own = self.mb, self.own
        _, width, _, tokens = query.shape
        key = mb.transpose(x=key, perm=[0, 3, 2, 1])  # (1, N, H_kv, e)
        self.new |= {f"new_key_{number}": key, f"new_value_{number}": value}
        past = self.graph[f"past_key_{number}"], self.graph[f"past_value_{number}"]
        queries, past_keys, new_keys, past_values, new_values = (
            self._split(one) for one in (query, past[0], key, past[1], value)
        )
        found = []
        for head in range(own.kv_heads):
            rows = mb.reshape(x=queries[head], shape=[1, width, 1, own.groups * tokens])
            scores = mb.concat(
                values=[mb.einsum(values=[keys, rows], equation=PRODUCT) for keys in (past_keys[head], new_keys[head])],
                axis=1,
            )
            weights = mb.softmax(x=mb.add(x=scores, y=self.mask), axis=1)  # (1, P + N, 1, G N)
            parts = mb.split(x=weights, split_sizes=[own.context, tokens], axis=1)
            mixed = [
                mb.einsum(values=[values, part], equation=PRODUCT)
                for part, values in zip(parts, (past_values[head], new_values[head]), strict=True)
            ]
            both = mb.add(x=mixed[0], y=mixed[1])
            found.append(mb.reshape(x=both, shape=[1, both.shape[1], own.groups, tokens]))
        return found[0] if len(found) == 1 else mb.concat(values=found, axis=2)

    def _split(self, x: Any) -> Sequence[Any]:
        """Splits axis 2 by kv heads."""
        return [x] if self.own.kv_heads == 1 else self.mb.split(x=x, num_splits=self.own.kv_heads, axis=2)

    def _gated(self, mixed: Any, form: LayerForm, name: str) -> Any:
        """Gates plain and phantom part of heads: see FoldedAttention."""
        mb, axis, basis, eta = self.mb, self.layout.feature, form.bases.value, form.maps.value.eta
        weight, bias = gate(self.read, name, form)
        if not basis.rank:
            plain, change = mixed, self.graph.held(f"{name}value_change", self._feature(stored_change(form)))
            score = self.layout.mixed(plain, f"{name}gate.weight", weight)
        else:
            plain, phantom = mb.split(x=mixed, split_sizes=[self.own.dim, basis.rank], axis=axis)
            if not basis.is_whole:
                phantom = self.layout.mixed(phantom, f"{name}value_basis_back", basis.vectors.T)
                phantom = mb.add(x=phantom, y=self.graph.held(f"{name}value_mean", self._feature(basis.mean)))
            change = phantom if np.float16(eta) == 1 else mb.mul(x=phantom, y=np.float16(eta))
            score = self.layout.mixed(mb.concat(values=[plain, change], axis=axis), f"{name}gate.weight", weight)
        weighed = mb.mul(x=change, y=mb.sigmoid(x=mb.add(x=score, y=np.float16(bias))))
        return mb.add(x=plain, y=weighed)

    def _feature(self, vector: Tensor) -> Tensor:
        """Reshapes a vector to be added to heads."""
        return vector.reshape(1, 1, 1, -1) if self.layout.is_fused else vector.reshape(1, -1, 1, 1)


def stored_change(form: LayerForm) -> Tensor:
    """Returns the change (d,), in float16 numbers, of a layer whose values keep nothing of the phantom dimension."""
    return (form.bases.value.mean.float() * form.maps.value.eta).half().float()


def gate(read: Read, name: str, form: LayerForm) -> tuple[Tensor, float]:
    """Returns the weights (2 d, 1) of the gate's score for plain and changed halves, and its bias.

    Where the change is the same for all tokens, the weights are (d, 1), and the bias holds the rest.
    """
    plain, phantom, plain_bias, phantom_bias = (one.float() for one in gate_of(read, name))
    bias = float(phantom_bias - plain_bias)
    if not form.bases.value.rank:
        return (phantom - plain).T, bias + float(phantom.half().float() @ stored_change(form))
    return torch.cat([phantom - plain, phantom], dim=-1).T, bias

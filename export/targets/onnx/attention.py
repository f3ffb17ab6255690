"""Attention in an ONNX graph, with the cache in the caller's own buffers.

Every key-value head has a buffer of its own, a row a token. The graph reads the filled rows in place and writes the new
ones into the rows that follow, which the caller binds as outputs: nothing is copied, nothing grows. Scores are
``K q^T`` with the cached keys as the left operand, which CPU kernels stream through without packing them first.
"""

from collections.abc import Sequence

import onnx_ir as ir
import torch
from onnx_ir import Value

from phantom_edge.export.parts.cache import row_widths
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.targets.onnx.graph import TYPES
from phantom_edge.export.targets.onnx.phantom import Halves, PhantomDrawing
from phantom_edge.models.config import PhantomTextConfig


def cache_inputs(layer: int, head: int) -> tuple[str, str]:
    """Returns the input names of a head's cached keys and values; those of new rows have ``new`` for ``past``."""
    return f"past_key.{layer}.{head}", f"past_value.{layer}.{head}"


class AttentionDrawing(PhantomDrawing):
    """Draws attention of N new tokens over P cached rows ``past``, and themselves.

    ``rows`` is the format in which rows are cached, None for that of activations; ``new`` are the rows to be cached.
    """

    config: PhantomTextConfig
    groups: int
    positions: Value
    past: dict[str, Value]
    rows: ir.DataType | None
    scales: list[Value]
    new: dict[str, Value]
    new_scales: list[Value]

    def _prepare(self, window: int | None) -> None:
        """Draws what all layers share: lengths and masks."""
        past = self.op("Shape", self.past[cache_inputs(0, 0)[0]])
        self.past_length = self.op("Slice", past, self.ints(0), self.ints(1))
        columns = self.op("Mul", self._length(), self.ints(self.groups))  # no -1, which no keys leave open
        self.together = self.op("Concat", self.ints(0), columns, axis=0)
        self.new_mask = self._mask(self.reshape(self.positions, -1, 1), window)
        self.past_mask = self._mask_of_past(past, window)

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
        least = self.held_once("least", torch.tensor(self._least))
        masked = self.op("Where", hidden, least, self.held_once("zero", torch.tensor(0.0)))
        masked = self.op("Expand", self.op("Unsqueeze", masked, self.ints(2)), self.ints(1, 1, self.groups))
        return self.op("Reshape", masked, self.together)

    def _by_heads(self, parts: Sequence[Halves], rows: Value) -> Sequence[Value]:
        """Splits rows (N, heads of all parts, e): queries (N, G e) of every kv head; keys and values (N, e) of it."""
        width = self.dim + parts[0].basis.shape[1]
        sizes = [part.heads // self.kv_heads * width for part in parts for _ in range(self.kv_heads)]
        flat = self.reshape(rows, 0, -1)
        return [flat] if len(sizes) == 1 else self.ops("Split", flat, self.ints(*sizes), outputs=len(sizes), axis=1)

    def _heads(self, rows: Sequence[Value], number: int, form: LayerForm, factor: float) -> Value:
        """Attention over cached and new rows: (H_kv N G, d + r_v); new ones become outputs.

        ``rows`` are those of ``_by_heads``. Scores are multiplied by ``factor``.
        """
        queries, keys, values = (rows[start : start + self.kv_heads] for start in range(0, len(rows), self.kv_heads))
        self._keep(keys, values, number)
        key_scales, value_scales = self._row_scales(number)
        found = []
        for head, query in enumerate(queries):
            past_key, past_value = (self._float_rows(self.past[name]) for name in cache_inputs(number, head))
            asking = self.reshape(query, -1, row_widths(self.config, form)[0])  # (N G, e)
            over_past = self._scores(past_key, asking, factor, self.past_mask, key_scales[head] if key_scales else None)
            over_new = self._scores(keys[head], asking, factor, self.new_mask)
            scores = self.op("Transpose", self.op("Concat", over_past, over_new, axis=0), perm=[1, 0])
            weights = self.op("Softmax", scores, axis=-1)  # (N G, P + N)
            of_past, of_new = self._parted(weights)
            if value_scales:
                of_past = self.rounding("Mul", of_past, self.reshape(value_scales[head], 1, -1))
            found.append(self.op("Gemm", of_new, values[head], self.op("MatMul", of_past, past_value)))
        return found[0] if len(found) == 1 else self.op("Concat", *found, axis=0)

    def _by_token(self, rows: Value) -> Value:
        """Rows (H_kv N G, d) as (N, H d)."""
        if self.kv_heads > 1:
            apart = self.reshape(rows, self.kv_heads, -1, self.groups * self.dim)
            rows = self.op("Transpose", apart, perm=[1, 0, 2])
        return self.reshape(rows, -1, self.heads * self.dim)

    def _parted(self, weights: Value) -> Sequence[Value]:
        """Splits attention weights (N G, P + N) into those of cached and of new rows."""
        if ("counts",) not in self.constants:
            self.constants["counts",] = self.op("Concat", self.past_length, self._length(), axis=0)
        return self.ops("Split", weights, self.constants["counts",], outputs=2, axis=1)

    def _scores(
        self, keys: Value, queries: Value, factor: float, mask: Value | None, scales: Value | None = None
    ) -> Value:
        """Masked scores (K, N G) of ``keys`` (K, e) and a head's queries (N G, e), times ``factor``."""
        if scales is None:
            return self.op("Gemm", keys, queries, *([] if mask is None else [mask]), alpha=factor, transB=1)
        found = self.rounding("Mul", self.op("Gemm", keys, queries, alpha=factor, transB=1), scales)
        return found if mask is None else self.op("Add", found, mask)

    def _keep(self, keys: Sequence[Value], values: Sequence[Value], number: int) -> None:
        """Make outputs of every head's new rows (N, width)."""
        if self.rows is not None:
            (keys, key_scales), (values, value_scales) = self._rounded_heads(keys), self._rounded_heads(values)
            self.new_scales.append(self.op("Concat", key_scales, value_scales, axis=1))
        for what, rows in (("key", keys), ("value", values)):
            self.new |= {f"new_{what}.{number}.{head}": one for head, one in enumerate(rows)}

    def _rounded_heads(self, heads: Sequence[Value]) -> tuple[Sequence[Value], Value]:
        """Rounds the rows (N, width) of every head to int8; returns them, and the scales (N, H_kv)."""
        apart = [self.op("Unsqueeze", one, self.ints(1)) for one in heads]
        together = self.op("Concat", *apart, axis=1) if len(apart) > 1 else apart[0]
        rounded, scales = self._rounded_rows(together)
        flat = self.reshape(rounded, 0, -1)
        count = len(heads)
        found = [flat] if count == 1 else self.ops("Split", flat, outputs=count, axis=1, num_outputs=count)
        return found, self.reshape(scales, 0, -1)

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

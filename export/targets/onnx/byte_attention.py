"""Attention of a vision tower by products of bytes, in an ONNX graph.

Activations alone are multiplied here, so scales are found while the graph runs: one for the queries of a head, one
for every key, one for every query's weights, one for every column of a head's values. Keys and values get 7 bits: the
sum of two products then fits 16 bits, in which CPUs without VNNI add them.
"""

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import Value

from phantom_edge.export.targets.onnx.linear import LARGEST, LinearDrawing

LARGEST_WEIGHT, LARGEST_RIGHT = 255.0, 63.0
MIDDLE = 128
"""Zero point of queries, whose bytes are unsigned."""


class ByteAttention(LinearDrawing):
    """Draws both products of attention."""

    def byte_scores(self, query: Value, key: Value) -> Value:
        """Scores (H, N, K) of queries (H, N, d) and keys (H, d, K)."""
        of_queries = self._sizes(query, LARGEST, 1, 2)
        rounded, of_keys = self._right(key)
        left = self._bytes(query, of_queries, self.byte(MIDDLE))
        return self._product(left, rounded, self.op("Mul", of_queries, of_keys), MIDDLE)

    def byte_mix(self, weights: Value, value: Value, heads: int, tokens: int) -> Value:
        """Means (H, N, d) of values (H, N, d) by ``weights`` (H, N, N), of which each row's largest becomes 255."""
        largest = self.op("ReduceMax", weights, self.ints(-1), keepdims=1)
        steps = self.op("Mul", largest, self.held_once("weight_step", torch.tensor(1 / LARGEST_WEIGHT)))
        rows = self.reshape(weights, heads * tokens, -1)
        rounded = self.rounding("QuantizeLinear", rows, self.reshape(steps, -1), axis=0)
        right, of_values = self._right(value)
        found = self._product(self.reshape(rounded, heads, tokens, -1), right, of_values, 0)
        return self.rounding("Mul", found, steps)

    def _right(self, x: Value) -> tuple[Value, Value]:
        """The right side of a product, rounded column by column, and its scales (H, 1, columns)."""
        sizes = self._sizes(x, LARGEST_RIGHT, 1)
        return self._bytes(x, sizes, self.signed_zero()), sizes

    def _sizes(self, x: Value, largest: float, *axes: int) -> Value:
        """Scales by which the largest magnitude along ``axes`` becomes ``largest``."""
        found = self.op("ReduceMax", self.op("Abs", x), self.ints(*axes), keepdims=1)
        scales = self.op("Mul", found, self.held_once(f"step_{largest:.0f}", torch.tensor(1 / largest)))
        return self.op("Max", scales, self.held_once("least_scale", torch.tensor(1e-6)))

    def _bytes(self, x: Value, sizes: Value, zero_point: Value) -> Value:
        one = self.held_once("one", torch.tensor(1.0))
        return self.rounding("QuantizeLinear", self.rounding("Div", x, sizes), one, zero_point)

    def signed_zero(self) -> Value:
        """Returns the constant int8 scalar 0."""
        name = "int8_0"
        if (name,) not in self.constants:
            self.constants[name,] = self.tape.initializer(ir.tensor(np.array(0, np.int8), name=name), name)
        return self.constants[name,]

    def _product(self, left: Value, right: Value, scales: Value, zero_point: int) -> Value:
        one = self.held_once("one", torch.tensor(1.0))
        return self.byte_product(left, one, self.byte(zero_point), right, scales, is_rounding=True)

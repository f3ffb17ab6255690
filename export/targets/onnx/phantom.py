"""The phantom dimension in an ONNX graph: halves beside the plain ones before attention, and the gate after it."""

import torch
from onnx_ir import Value

from phantom_edge.export.passes.fold import FoldedMap
from phantom_edge.export.passes.layer_form import LayerForm, gate_of
from phantom_edge.export.passes.rank import Basis
from phantom_edge.export.targets.onnx.linear import LinearDrawing


class PhantomDrawing(LinearDrawing):
    """Draws a layer's additions to a usual decoder. ``dim`` is the width of a head."""

    dim: int

    def _beside_shadow(self, query: Value, plain: Value, form: LayerForm, own: str, scale: float) -> Value:
        """Queries with the coordinates for the phantom half of keys; ``plain`` are the queries times ``scale``."""
        maps, basis = form.maps, form.bases.key
        shadow = self._direction(plain, maps.query, f"{own}phantom_query", scale)
        strength = self.dim**-0.5 * maps.query.eta * maps.key.eta
        return self._beside(query, shadow, Basis(strength * basis.vectors, 0 * basis.mean), f"{own}shadow")

    def _beside_phantoms(self, key: Value, value: Value, form: LayerForm, own: str) -> tuple[Value, Value]:
        """Keys and values with the coordinates that the passes left of their phantom halves."""
        maps, bases = form.maps, form.bases
        if bases.key.rank:
            key = self._beside(key, self._direction(key, maps.key, f"{own}phantom_key"), bases.key, f"{own}key_basis")
        if bases.value.rank:
            phantom = self._direction(value, maps.value, f"{own}phantom_value")
            value = self._beside(value, phantom, bases.value, f"{own}value_basis")
        return key, value

    def _direction(self, x: Value, folded: FoldedMap, name: str, scale: float = 1.0) -> Value:
        """Computes ``folded.direction(x / scale)``."""
        inner = self.gelu(self.op("MatMul", x, self.held(f"{name}.query", folded.query.T / scale)))
        weights = self.op("Softmax", self.op("MatMul", inner, self.held(f"{name}.keys", folded.keys.T)), axis=-1)
        return self.gelu(self.op("MatMul", weights, self.held(f"{name}.values", folded.values)))

    def _beside(self, plain: Value, direction: Value, basis: Basis, name: str) -> Value:
        """Concatenates ``plain`` and the coordinates of ``direction``."""
        coordinates = self.op("MatMul", direction, self.held(name, basis.vectors))
        return self.op("Concat", plain, coordinates, axis=-1)

    def _gated(self, mixed: Value, form: LayerForm, own: str) -> Value:
        """Gates plain and phantom part of ``mixed`` (N, H, d + r_v) to (N, H, d): see FoldedAttention."""
        basis, eta = form.bases.value, form.maps.value.eta
        plain_weight, phantom_weight, plain_bias, phantom_bias = gate_of(self.read, own)
        vectors, mean = basis.vectors.double(), basis.mean.double()
        weight = torch.cat([phantom_weight - plain_weight, eta * phantom_weight @ vectors], dim=-1).T  # (d + r_v, 1)
        bias = phantom_bias - plain_bias + eta * phantom_weight @ mean
        score = self.op("MatMul", mixed, self.held(f"{own}gate.weight", weight))
        gate = self.op("Sigmoid", self.op("Add", score, self.held(f"{own}gate.bias", bias)))
        if not basis.rank:
            plain, change = mixed, self.held(f"{own}change.mean", eta * mean)
        else:
            plain, coordinates = self.ops("Split", mixed, self.ints(self.dim, basis.rank), outputs=2, axis=-1)
            change = self.op("MatMul", coordinates, self.held(f"{own}change.vectors", eta * vectors.T))
            if mean.any():
                change = self.op("Add", change, self.held(f"{own}change.mean", eta * mean))
        return self.op("Add", plain, self.op("Mul", gate, change))

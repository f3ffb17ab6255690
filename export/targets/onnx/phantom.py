"""The phantom dimension in an ONNX graph: halves beside the plain ones before attention, and the gate after it.

A decoder spends its time on nodes as well as on numbers. So the maps of queries, keys and values are computed together
where their rows are equally wide: each head sees only the sentinel heads of its own map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from onnx_ir import Value
from torch import Tensor

from phantom_edge.export.passes.fold import FoldedMap
from phantom_edge.export.passes.layer_form import LayerForm, gate_of
from phantom_edge.export.targets.onnx.linear import LinearDrawing


@dataclass(frozen=True)
class Halves:
    """Plain halves (N, ``heads``, d) of queries, keys or values, and what makes their phantom halves.

    ``folded`` maps ``seen / scale``, and ``basis`` (d, r) leaves r numbers of the direction that it finds.
    """

    name: str
    heads: int
    plain: Value
    seen: Value
    folded: FoldedMap
    basis: Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class Query:
    """Queries (N, H, d): ``plain`` to ask with, ``seen`` that are ``scale`` times the model's.

    Their coordinates take ``factor``, which is already in ``plain``: what is left of 1/sqrt(d) comes with the scores.
    """

    plain: Value
    seen: Value
    scale: float
    factor: float


class PhantomDrawing(LinearDrawing):
    """Draws a layer's additions to a usual decoder, whose heads, ``dim`` wide, ask ``kv_heads`` of keys and values."""

    dim: int
    heads: int
    kv_heads: int

    def _widened(
        self, query: Query, key: Value, value: Value, form: LayerForm, own: str
    ) -> list[tuple[list[Halves], Value]]:
        """Queries, keys and values with the coordinates that the passes left of their phantom halves.

        Those of equal width come together: (N, heads of all, d + r).
        """
        maps, bases = form.maps, form.bases
        shadow = query.factor * maps.query.eta * maps.key.eta * bases.key.vectors
        parts = [
            Halves("query", self.heads, query.plain, query.seen, maps.query, shadow, query.scale),
            Halves("key", self.kv_heads, key, key, maps.key, bases.key.vectors),
            Halves("value", self.kv_heads, value, value, maps.value, bases.value.vectors),
        ]
        groups = [list(group) for _, group in groupby(parts, key=lambda part: part.basis.shape[1])]
        return [(group, self._joined(group, own)) for group in groups]

    def _joined(self, parts: Sequence[Halves], own: str) -> Value:
        plain = self._concatenated([part.plain for part in parts], axis=1)
        if not parts[0].basis.shape[1]:
            return plain
        return self.op("Concat", plain, self._coordinates(parts, own), axis=-1)

    def _coordinates(self, parts: Sequence[Halves], own: str) -> Value:
        """Computes ``folded.direction(seen / scale) @ basis`` of all ``parts``: (N, heads of all, r).

        Products with the maps' and bases' matrices of all parts lie side by side; a mask leaves each head its own.
        """
        seen = [
            self.op("MatMul", part.seen, self.held(f"{own}phantom_{part.name}", part.folded.query.T / part.scale))
            for part in parts
        ]
        name = "_".join([f"{own}phantom", *(part.name for part in parts)])
        keys, values = (torch.cat([getattr(part.folded, what) for part in parts]) for what in ("keys", "values"))
        scores = self.op("MatMul", self.gelu(self._concatenated(seen, axis=1)), self.held(f"{name}.keys", keys.T))
        if len(parts) > 1:
            others = torch.where(_own([part.folded.keys.T for part in parts], parts) == 1, 0.0, self._least)
            scores = self.op("Add", scores, self.held_once(f"others {tuple(others.shape)}", others))
        weights = self.op("Softmax", scores, axis=-1)
        directions = self.gelu(self.op("MatMul", weights, self.held(f"{name}.values", values)))
        bases = [part.basis for part in parts]
        found = self.op("MatMul", directions, self.held(f"{name}.bases", torch.cat(bases, dim=1)))
        if len(parts) == 1:
            return found
        mine = _own(bases, parts)
        sums = torch.eye(bases[0].shape[1]).repeat(len(parts), 1)
        found = self.op("Mul", found, self.held_once(f"own {tuple(mine.shape)}", mine))
        return self.op("MatMul", found, self.held_once(f"sums {tuple(sums.shape)}", sums))

    @property
    def _least(self) -> float:
        """A number that hides what it is added to: half of it, so that the sum stays finite."""
        return torch.finfo(self.dtype).min / 2

    def _concatenated(self, values: Sequence[Value], axis: int) -> Value:
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def _gated(self, mixed: Value, form: LayerForm, own: str) -> Value:
        """Gates plain and phantom part of rows ``mixed`` (rows, d + r_v) to (rows, d): see FoldedAttention."""
        basis, eta = form.bases.value, form.maps.value.eta
        plain_weight, phantom_weight, plain_bias, phantom_bias = gate_of(self.read, own)
        vectors, mean = basis.vectors.double(), basis.mean.double()
        weight = torch.cat([phantom_weight - plain_weight, eta * phantom_weight @ vectors], dim=-1).T  # (d + r_v, 1)
        bias = phantom_bias - plain_bias + eta * phantom_weight @ mean
        score = self.op("Gemm", mixed, self.held(f"{own}gate.weight", weight), self.held(f"{own}gate.bias", bias))
        gate = self.op("Sigmoid", score)
        if not basis.rank:
            plain, change = mixed, self.held(f"{own}change.mean", eta * mean)
        else:
            plain, coordinates = self.ops("Split", mixed, self.ints(self.dim, basis.rank), outputs=2, axis=-1)
            about = [self.held(f"{own}change.vectors", eta * vectors.T)]
            if mean.any():
                about.append(self.held(f"{own}change.mean", eta * mean))
            change = self.op("Gemm", coordinates, *about)
        return self.op("Add", plain, self.op("Mul", gate, change))


def _own(blocks: Sequence[Tensor], parts: Sequence[Halves]) -> Tensor:
    """Ones (heads of all, columns of all) where a head of a part meets columns of its own block, zeros elsewhere."""
    ones = [torch.ones(part.heads, block.shape[1]) for part, block in zip(parts, blocks, strict=True)]
    found: Tensor = torch.block_diag(*ones)  # type: ignore[no-untyped-call]
    return found

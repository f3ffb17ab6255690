"""Linear layers in two forms of the same numbers: four bits for one row, bytes for more.

A token waits for the weights' bytes, so four bits are quicker; a prompt waits for products, of which processors compute
several times as many by bytes. Weights of scheme ``exact8`` are the same numbers in both.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir import Value

from phantom_edge.bundle.work import SECOND_FORM
from phantom_edge.checkpoint.quantized.files import INTEGERS, SCALES
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import BYTES, as_bytes
from phantom_edge.export.targets.onnx.dequantize import columns_first, scales_first
from phantom_edge.export.targets.onnx.linear import LinearDrawing


class TwoFormDrawing(LinearDrawing):
    """A drawing of layers in two forms where ``many`` is drawn: true where there are more rows than one."""

    many: Value | None = None

    def _encoding(self, scheme: Scheme, is_table: bool) -> Callable[..., Value]:
        if self.many is not None and scheme.exact8 and not is_table and self.dtype == torch.float32:
            return self._either
        return super()._encoding(scheme, is_table)

    def _either(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], scheme: Scheme, bias: Value | None
    ) -> Value:
        """A node that runs one of two branches, whose weights are the graph's."""
        about = (x, key, names, shape, scheme, bias)
        branches = [
            ir.AttrGraph(f"{which}_branch", self._branch(f"{key}.{which}", draw, *about))
            for which, draw in (("then", self._by_bytes), ("else", self._rounded))
        ]
        assert self.many is not None
        found: Value = self.tape.op("If", [self.many], name=self.called("If"))
        node = found.producer()
        assert node is not None
        for branch in branches:
            node.attributes[branch.name] = branch
        return found

    def _branch(self, name: str, draw: Callable[..., Value], *about: Any) -> ir.Graph:
        outer = self.tape
        self.tape = _Branch(outer)
        try:
            result = draw(*about)
            nodes = self.tape.nodes
        finally:
            self.tape = outer
        for number, node in enumerate(nodes):  # names of all branches and of the graph differ
            node.name = f"{node.name}.{name}"
            for value in node.outputs:
                value.name = f"{name}.{number}"
        return ir.Graph([], [result], nodes=nodes, name=name)

    def _by_bytes(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], _scheme: Scheme, bias: Value | None
    ) -> Value:
        made, (rows, columns) = self._reader(names), shape
        integers, scales = (f"{key}.bytes.{part}" for part in (INTEGERS, SCALES))
        matrix = self.packed(integers, (columns, rows), BYTES, made(lambda held: columns_first(as_bytes(held))))
        steps = self.weight(scales, (rows,), made(lambda held: scales_first(as_bytes(held))))
        self.kinds |= dict.fromkeys((integers, scales), SECOND_FORM)
        return self._by_rows(
            x, BYTES, bias, lambda rounded, one, middle: self.byte_product(rounded, one, middle, matrix, steps)
        )


class _Branch(ir.tape.Tape):  # type: ignore[misc]
    """Nodes of a branch; what they read of constants is the graph's."""

    def __init__(self, outer: ir.tape.Tape) -> None:
        super().__init__()
        self.outer = outer

    def initializer(self, tensor: ir.TensorProtocol, name: str | None = None) -> Value:
        """Adds an initializer to the graph."""
        return self.outer.initializer(tensor, name)

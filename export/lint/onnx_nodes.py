"""Nodes of an ONNX graph as rules look at them: with the formats and shapes of all that they read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from phantom_edge.errors import EdgeError, need
from phantom_edge.export.bundle.folder import AGAIN

Array = NDArray[Any]


@dataclass(frozen=True)
class GraphNode:
    """One node of a graph of ``opset``. ``held`` are those of its inputs that the file holds, by their places."""

    type: str
    name: str
    domain: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    kinds: tuple[str, ...]
    held: Mapping[int, onnx.TensorProto]
    folder: Path = field(repr=False)

    def __str__(self) -> str:
        return f"{self.type} '{self.name}'"

    def shape(self, place: int) -> tuple[int, ...] | None:
        """Of an input that the file holds."""
        return tuple(self.held[place].dims) if place in self.held else None

    def array(self, place: int) -> Array:
        """An input that the file holds."""
        found: Array = numpy_helper.to_array(self.held[place], str(self.folder))
        return found

    @cached_property
    def work(self) -> int:
        """Multiply-adds with weights that the file holds, for one row of what goes in."""
        if self.type not in ("Gemm", "MatMul", "Conv"):
            return 0
        return max((int(np.prod(tensor.dims)) for tensor in self.held.values()), default=0)


@dataclass(frozen=True)
class Graph:
    """A graph and the file that it lies in. Raises EdgeError for what is no graph, where its weights are not there."""

    path: Path
    model: onnx.ModelProto

    @classmethod
    def open(cls, path: Path) -> "Graph":
        """Without the weights, which are read as they are asked for."""
        try:
            return cls(path, onnx.load(path, load_external_data=False))
        except (OSError, need("google.protobuf.message").DecodeError) as error:
            raise EdgeError(f"{path} is no ONNX graph ({type(error).__name__})", AGAIN) from error

    def nodes(self) -> Iterator[GraphNode]:
        """In the graph's order."""
        graph = self.model.graph
        held = {tensor.name: tensor for tensor in graph.initializer}
        kinds = {name: _kind(tensor.data_type) for name, tensor in held.items()}
        kinds |= {port.name: _kind(port.type.tensor_type.elem_type) for port in (*graph.input, *graph.output)}
        opsets = {one.domain: one.version for one in self.model.opset_import}
        decoded: dict[str, onnx.TensorProto] = {}
        for node in graph.node:
            if node.op_type == "DequantizeLinear" and node.input[0] in held:
                decoded[node.output[0]] = held[node.input[0]]
            found = {place: (held | decoded).get(name) for place, name in enumerate(node.input)}
            yield GraphNode(
                node.op_type,
                node.output[0],
                node.domain,
                opsets.get("", 0),
                {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute},
                tuple(node.input),
                tuple(kinds.get(name, "") for name in node.input),
                {place: tensor for place, tensor in found.items() if tensor is not None},
                self.path.parent,
            )


def _kind(number: int) -> str:
    return str(onnx.TensorProto.DataType.Name(number))

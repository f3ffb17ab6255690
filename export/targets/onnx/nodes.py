"""Nodes of an ONNX graph for lint rules: with formats and shapes of their inputs, and their neighbours."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.foundation.errors import EdgeError, need

Array = NDArray[Any]
Shape = tuple[int | str, ...]
"""Shape of a tensor; a dimension that may differ from run to run is a name."""


class Wires:
    """Makers and readers of a graph's tensors; ``beside`` are the wires of graphs that share its cache."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes: list[GraphNode] = []
        self.makers: dict[str, GraphNode] = {}
        self.readers: defaultdict[str, list[GraphNode]] = defaultdict(list)
        self.inputs = {port.name for port in model.graph.input}
        self.outputs = {port.name for port in model.graph.output}
        self.beside: Sequence[Wires] = ()

    def add(self, node: "GraphNode") -> None:
        """Adds the next node."""
        self.nodes.append(node)
        self.makers |= dict.fromkeys(node.outputs, node)
        for name in node.inputs:
            self.readers[name].append(node)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the tensors for which onnx has one."""
        return {name: tuple(map(_dim, port.shape.dim)) for name, port in self._ports.items() if port.HasField("shape")}

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Formats of the tensors for which onnx has one."""
        return {name: _kind(port.elem_type) for name, port in self._ports.items()}

    @cached_property
    def _ports(self) -> dict[str, onnx.TypeProto.Tensor]:
        graph = onnx.shape_inference.infer_shapes(self.model).graph
        return {port.name: port.type.tensor_type for port in (*graph.value_info, *graph.input, *graph.output)}


def _dim(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    return int(dim.dim_value) if dim.HasField("dim_value") else str(dim.dim_param)


@dataclass(frozen=True)
class GraphNode:
    """One node of a graph of ``opset``. ``held`` are the inputs that the file holds, by their places."""

    type: str
    name: str
    domain: str
    opset: int
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    kinds: tuple[str, ...]
    held: Mapping[int, onnx.TensorProto]
    folder: Path = field(repr=False)
    outputs: tuple[str, ...]
    wires: Wires = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.type} '{self.name}'"

    def shape(self, place: int) -> tuple[int, ...] | None:
        """Returns the shape of an input that the file holds."""
        return tuple(self.held[place].dims) if place in self.held else None

    def array(self, place: int) -> Array:
        """Reads an input that the file holds."""
        found: Array = numpy_helper.to_array(self.held[place], str(self.folder))
        return found

    def maker(self, place: int) -> "GraphNode | None":
        """Returns the node that makes an input."""
        return self.wires.makers.get(self.inputs[place]) if place < len(self.inputs) else None

    @property
    def readers(self) -> list["GraphNode"]:
        """Returns the nodes that read its outputs."""
        return [node for name in self.outputs for node in self.wires.readers[name]]

    @cached_property
    def work(self) -> int:
        """Multiply-adds with weights that the file holds, for one row of input."""
        if self.type not in ("Gemm", "MatMul", "Conv"):
            return 0
        return max((int(np.prod(tensor.dims)) for tensor in self.held.values()), default=0)


@dataclass(frozen=True)
class Graph:
    """A graph and its file. Raises EdgeError for a file that is no graph, or missing weights."""

    path: Path
    model: onnx.ModelProto

    @classmethod
    def open(cls, path: Path) -> "Graph":
        """Opens a graph without its weights, which are read on demand."""
        try:
            return cls(path, onnx.load(path, load_external_data=False))
        except (OSError, need("google.protobuf.message").DecodeError) as error:
            raise EdgeError(f"{path} is no ONNX graph ({type(error).__name__})", AGAIN) from error

    @cached_property
    def wires(self) -> Wires:
        """Wires of all nodes."""
        wires = Wires(self.model)
        for node in self._nodes(wires):
            wires.add(node)
        return wires

    def nodes(self) -> Iterator[GraphNode]:
        """Iterates over nodes in the graph's order."""
        return iter(self.wires.nodes)

    def _nodes(self, wires: Wires) -> Iterator[GraphNode]:
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
                tuple(node.output),
                wires,
            )


def _kind(number: int) -> str:
    return str(onnx.TensorProto.DataType.Name(number))

"""One graph of a .tflite file, drawn operator by operator, with its signature."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from phantom_edge.bundle.numbers import Number
from phantom_edge.bundle.part import Port
from phantom_edge.export.targets.litert.model_file import DTYPES, Array, ModelFile

FLOAT: Number = "float32"


@dataclass(frozen=True)
class Value:
    """A tensor: its index in the graph, its shape and number format."""

    index: int
    shape: tuple[int, ...]
    dtype: str = FLOAT


class Graph:
    """A graph in the making; every shape is fixed."""

    def __init__(self, file: ModelFile, name: str) -> None:
        self.file, self.name, self.types = file, name, file.schema
        self.graph = self.types.SubGraphT()
        self.graph.name, self.graph.tensors, self.graph.operators = name, [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.inputs: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.constants: dict[str, Value] = {}
        self.kinds: Counter[str] = Counter()

    def input(self, name: str, shape: Sequence[int], dtype: Number = FLOAT) -> Value:
        """Adds an input."""
        value = self.tensor(shape, dtype, name)
        self.inputs[name] = value
        self.graph.inputs.append(value.index)
        return value

    def output(self, name: str, value: Value) -> None:
        """Makes ``value`` an output."""
        self.outputs[name] = value
        self.graph.outputs.append(value.index)

    def close(self) -> None:
        """Adds the graph and its signature to the file."""
        signature = self.types.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = self.name, len(self.file.graphs)
        signature.inputs, signature.outputs = self._map(self.inputs), self._map(self.outputs)
        self.file.graphs.append(self.graph)
        self.file.signatures.append(signature)

    def _map(self, values: Mapping[str, Value]) -> list[Any]:
        found = []
        for name, value in values.items():
            entry = self.types.TensorMapT()
            entry.name, entry.tensorIndex = name, value.index
            found.append(entry)
        return found

    def tensor(self, shape: Sequence[int], dtype: str = FLOAT, name: str = "", buffer: int = 0) -> Value:
        """Adds a tensor; buffer 0 holds no constant."""
        tensor = self.types.TensorT()
        tensor.shape, tensor.type = list(shape), getattr(self.types.TensorType, DTYPES[dtype][0])
        tensor.buffer, tensor.name = buffer, name or f"t{len(self.graph.tensors)}"
        self.graph.tensors.append(tensor)
        return Value(len(self.graph.tensors) - 1, tuple(shape), dtype)

    def constant(self, name: str, shape: Sequence[int], make: Callable[[], Array], dtype: str = FLOAT) -> Value:
        """Returns the constant called ``name``, which all graphs of the file share."""
        if name not in self.constants:
            held = self.file.buffer(name, tuple(shape), dtype, make)
            self.constants[name] = self.tensor(shape, dtype, name, held.number)
        return self.constants[name]

    def held(self, name: str, array: Array | Tensor) -> Value:
        """Returns a float constant with values from memory."""
        found = np.ascontiguousarray(np.asarray(array), np.float32)
        return self.constant(name, found.shape, lambda: found)

    def ints(self, *values: int) -> Value:
        """Returns a constant int32 vector."""
        name = f"int32_{'_'.join(map(str, values))}"
        return self.constant(name, (len(values),), lambda: np.array(values, np.int32), "int32")

    def ops(
        self,
        kind: str,
        inputs: Sequence[Value | None],
        shapes: Sequence[Sequence[int]],
        dtype: str = FLOAT,
        options: str = "",
        **attributes: Any,
    ) -> list[Value]:
        """Adds an operator with outputs of these shapes; ``options`` is the class of its attributes."""
        found = [self.tensor(shape, dtype) for shape in shapes]
        operator = self.types.OperatorT()
        operator.opcodeIndex = self.file.code(kind)
        operator.inputs = [-1 if one is None else one.index for one in inputs]
        operator.outputs = [one.index for one in found]
        if options:
            operator.builtinOptionsType = getattr(self.types.BuiltinOptions, options)
            operator.builtinOptions = getattr(self.types, f"{options}T")()
            for name, value in attributes.items():
                assert hasattr(operator.builtinOptions, name), (options, name)
                setattr(operator.builtinOptions, name, value)
        self.graph.operators.append(operator)
        self.kinds[kind] += 1
        return found

    def op(self, kind: str, *inputs: Value | None, shape: Sequence[int], **about: Any) -> Value:
        """Adds an operator with one output."""
        return self.ops(kind, inputs, [shape], **about)[0]

    def ports(self, values: Mapping[str, Value]) -> tuple[Port, ...]:
        """Returns the manifest's description of inputs or outputs."""
        dtypes: dict[str, Number] = {"float32": "float32", "int32": "int32"}
        return tuple(Port(name, value.shape, dtypes[value.dtype]) for name, value in values.items())


def spread(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of an operation on two shapes, one of which may be spread over the other."""
    return tuple(int(one) for one in np.broadcast_shapes(*map(tuple, shapes)))

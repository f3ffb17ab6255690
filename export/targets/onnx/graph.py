"""An ONNX graph drawn node by node, its weights read one at a time when the file is written."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir import Value
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor

SMALL = 256
"""Maximum size of a tensor in the graph's own file, bytes."""

OPSET, IR_VERSION = 23, 11
"""RMSNormalization and RotaryEmbedding are standard from opset 23 on."""

ROUNDING = "rounding."

TYPES = {torch.float32: ir.DataType.FLOAT, torch.float16: ir.DataType.FLOAT16}
Dim = int | str


class Drawing:
    """A graph in the making. ``dtype`` is the type of its weights and activations."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        self.name = name
        self.dtype = dtype
        self.tape = ir.tape.Tape()
        self.place: tuple[str, ...] = ()
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.constants: dict[tuple[Any, ...], Value] = {}
        self.opsets, self.ir_version, self.small = {"": OPSET}, IR_VERSION, SMALL
        self.kinds: dict[str, str] = {}  # number formats of initializers of bytes

    @contextmanager
    def within(self, *place: str) -> Iterator[None]:
        """Names the nodes drawn inside after a place in the model, which profilers then report."""
        outer = self.place
        self.place = (*outer, *place)
        try:
            yield
        finally:
            self.place = outer

    def called(self, kind: str) -> str | None:
        """Returns the name of the next node; None outside of all places."""
        return "/".join((*self.place, f"{kind}_{len(self.tape.nodes)}")) if self.place else None

    def input(self, name: str, shape: Sequence[Dim], dtype: ir.DataType | None = None) -> Value:
        """Adds a graph input; a named dimension may differ from run to run."""
        value = Value(
            name=name, shape=ir.Shape(shape), type=ir.TensorType(TYPES[self.dtype] if dtype is None else dtype)
        )
        self.inputs.append(value)
        return value

    def output(self, value: Value, name: str, shape: Sequence[Dim], dtype: ir.DataType | None = None) -> None:
        """Make ``value`` a graph output."""
        kind = TYPES[self.dtype] if dtype is None else dtype
        value.name, value.shape, value.type = name, ir.Shape(shape), ir.TensorType(kind)
        self.outputs.append(value)

    def weight(self, name: str, shape: Sequence[int], make: Callable[[], Tensor]) -> Value:
        """Adds an initializer whose values ``make`` returns when the file is written; they are not kept in memory."""

        def read() -> TorchTensor:
            tensor = make().to(self.dtype).contiguous()
            assert tuple(tensor.shape) == tuple(shape), (name, tensor.shape, shape)
            return TorchTensor(tensor, name=name)

        return self.tape.initializer(ir.LazyTensor(read, TYPES[self.dtype], ir.Shape(shape), name=name), name)

    def held(self, name: str, tensor: Tensor) -> Value:
        """Adds a small initializer with values from memory."""
        return self.weight(name, tuple(tensor.shape), lambda: tensor)

    def held_once(self, name: str, tensor: Tensor) -> Value:
        """Returns one shared initializer per name."""
        if (name,) not in self.constants:
            self.constants[name,] = self.held(name, tensor)
        return self.constants[name,]

    def ints(self, *values: int) -> Value:
        """Returns a constant int64 vector."""
        return self._constant(np.array(values, np.int64))

    def scalar(self, value: int) -> Value:
        """Returns a constant int64 scalar."""
        return self._constant(np.array(value, np.int64))

    def _constant(self, array: NDArray[np.int64]) -> Value:
        key = (array.shape, *array.flatten().tolist())
        if key not in self.constants:
            name = f"int64_{'x'.join(map(str, array.shape))}_{len(self.constants)}"
            self.constants[key] = self.tape.initializer(ir.tensor(array, name=name), name)
        return self.constants[key]

    def op(self, kind: str, *inputs: Value | None, **attributes: Any) -> Value:
        """Adds a node and returns its one output."""
        found: Value = self.tape.op(kind, inputs, attributes, name=self.called(kind))
        return found

    def rounding(self, kind: str, *inputs: Value | None, **attributes: Any) -> Value:
        """Adds a node that only serves the rounding of activations; without it, its first input passes on.

        Proofs remove such nodes, by their names.
        """
        name = f"{ROUNDING}{self.called(kind) or len(self.tape.nodes)}"
        found: Value = self.tape.op(kind, inputs, attributes, name=name)
        return found

    def gelu(self, x: Value) -> Value:
        """Exact GELU."""
        return self.op("Gelu", x)

    def ops(self, kind: str, *inputs: Value | None, outputs: int, **attributes: Any) -> Sequence[Value]:
        """Adds a node and returns its several outputs."""
        name = self.called(kind)
        found: Sequence[Value] = self.tape.op_multi_out(kind, inputs, attributes, num_outputs=outputs, name=name)
        return found

    def reshape(self, x: Value, *shape: int) -> Value:
        """Reshapes; 0 keeps a dimension, -1 takes the rest."""
        return self.op("Reshape", x, self.ints(*shape))

    def operators(self) -> dict[str, int]:
        """Counts nodes by kind, the commonest first."""
        return dict(Counter(node.op_type for node in self.tape.nodes).most_common())

    def weight_bytes(self) -> dict[str, int]:
        """Returns bytes of the initializers, by number format."""
        found: Counter[str] = Counter()
        for value in self.tape.initializers:
            assert value.const_value is not None
            found[self.kinds.get(value.name or "") or str(value.const_value.dtype.numpy())] += value.const_value.nbytes
        return dict(found)

    @property
    def bytes(self) -> int:
        """Size of all weights, bytes."""
        return sum(self.weight_bytes().values())

    def save(self, path: Path, data: str, progress: Callable[[int], None] = lambda _: None) -> None:
        """Write the graph to ``path`` and its weights to a file called ``data`` beside it."""
        ir.save(
            self._model(),
            path,
            external_data=data,
            size_threshold_bytes=self.small,
            callback=lambda tensor, _info: progress(tensor.nbytes),
        )

    def save_beside(self, path: Path, other: Path) -> None:
        """Write the graph to ``path``, which reads the weights of the graph at ``other``; that has all of them."""
        known = ir.load(other).graph.initializers
        for value in self.tape.initializers:
            assert value.name is not None and value.const_value is not None
            if value.const_value.nbytes >= self.small:
                value.const_value = known[value.name].const_value
        ir.save(self._model(), path)

    def _model(self) -> ir.Model:
        graph = ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.tape.nodes,
            initializers=self.tape.initializers,
            opset_imports=self.opsets,
            name=self.name,
        )
        return ir.Model(graph, ir_version=self.ir_version, producer_name="phantom-edge")

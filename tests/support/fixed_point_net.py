"""A small fixed-point graph in the making, and its signal to noise in the simulator of Qualcomm's processor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from phantom_edge.export.targets.qnn.chips import SOCS
from phantom_edge.export.targets.qnn.engine import open_session

CHIP = SOCS["sm8650"]
ROWS, WIDTH = 64, 128
FLOAT, UINT16, INT4 = TensorProto.FLOAT, TensorProto.UINT16, TensorProto.INT4
Array = NDArray[Any]
Encoding = tuple[str, str]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
HEADS = RNG.normal(size=(4, 16, 32)).astype(np.float32)
WEIGHT = (RNG.normal(size=(WIDTH, WIDTH)) * 0.1).astype(np.float32)
GAMMA = RNG.uniform(0.5, 1.5, WIDTH).astype(np.float32)


@dataclass
class Net:
    """A graph under construction, and the inputs that it is run with."""

    opset: int = 23
    nodes: list[Any] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    fed: dict[str, Array] = field(default_factory=dict)

    def hold(self, value: Any, kind: int | None = None) -> str:
        name, array = f"held{len(self.held)}", np.asarray(value)
        self.held.append(
            numpy_helper.from_array(array, name)
            if kind is None
            else helper.make_tensor(name, kind, array.shape, array.flatten().tolist())
        )
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        name = f"{kind}{len(self.nodes)}"
        names = [f"{name}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, **attributes))
        return names

    def input(self, value: Array, name: str = "x", shape: Any = None) -> str:
        self.fed[name] = value
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape or value.shape))
        return name

    def output(self, name: str, kind: int = FLOAT, called: str = "") -> None:
        if called:
            (made,) = (node for node in self.nodes if name in node.output)
            made.output[:] = [called]
            for node in self.nodes:
                node.input[:] = [called if one == name else one for one in node.input]
        self.outputs.append(helper.make_tensor_value_info(called or name, kind, None))

    def encoding(self, low: float, high: float, dtype: Any = np.uint16) -> Encoding:
        """Scale and zero point of a range; signed integers are symmetric."""
        ends = np.iinfo(dtype)
        if ends.min < 0:
            return self.hold(np.float32(max(-low, high) / ends.max)), self.hold(dtype(0))
        scale = np.float32((high - low) / ends.max)
        return self.hold(scale), self.hold(dtype(round(-low / scale)))

    def fixed(self, x: str, about: Encoding) -> str:
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *about), *about)

    def reach(self, x: str, low: float, high: float, dtype: Any = np.uint16) -> str:
        return self.fixed(x, self.encoding(low, high, dtype))

    def start(self, value: Array = X, name: str = "x", dtype: Any = np.uint16) -> str:
        return self.reach(self.input(value, name), min(float(value.min()), 0), float(value.max()), dtype)

    def end(self, y: str, low: float, high: float, dtype: Any = np.uint16) -> "Net":
        self.output(self.reach(y, low, high, dtype))
        return self

    def static(self, value: Any, dtype: Any = np.uint16, moved: bool = False) -> str:
        """A quantized constant; with ``moved``, signed integers have a zero point, too."""
        array, ends = np.asarray(value, np.float32), np.iinfo(dtype)
        if ends.min < 0 and not moved:
            scale, zero = np.float32(np.abs(array).max() / ends.max), 0
        else:
            low = min(float(array.min()), 0)
            scale = np.float32((float(array.max()) - low) / (int(ends.max) - int(ends.min)))
            zero = round(ends.min - low / scale)
        integers = np.clip(np.round(array / scale) + zero, ends.min, ends.max).astype(dtype)
        return self.op("DequantizeLinear", self.hold(integers), self.hold(scale), self.hold(dtype(zero)))

    def ints(self, *values: int) -> str:
        return self.hold(np.array(values, np.int64))

    @property
    def model(self) -> Any:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.held)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=11))

    def save(self, path: Path) -> Path:
        onnx.save(self.model, path)
        return path

    def expected(self) -> list[Array]:
        """Outputs of ONNX Runtime on the CPU, node by node."""
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(self.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found: list[Array] = session.run(None, self.fed)
        return found

    def decibels(self) -> float:
        """Signal to noise of the worst output, simulator against CPU; every node is on the processor."""
        found = open_session(self.model.SerializeToString(), CHIP.number, CHIP.arch).run(None, self.fed)
        return min(map(decibels, self.expected(), found))


def decibels(want: Array, got: Array) -> float:
    """Signal to noise."""
    noise = np.square(want.astype(np.float64) - got).sum()
    return 10 * float(np.log10(np.square(want.astype(np.float64)).sum() / max(noise, 1e-30)))


def ends(array: Array) -> tuple[float, float]:
    """The range of an array, with zero in it."""
    return min(float(array.min()), 0.0), max(float(array.max()), 0.0)

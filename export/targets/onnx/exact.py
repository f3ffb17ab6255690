"""Engine of a bundle's own graphs and integers, with float sums in quantized layers, and a float cache."""

from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from phantom_edge.bundle.numbers import Number
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.graph import ROUNDING

FLOAT = 1
"""The accuracy level of MatMulNBits that rounds no activation."""

LEVEL = "session.qdq_matmulnbits_accuracy_level"
"""Entry of a session's configuration: the level of those that ONNX Runtime makes of other nodes."""

NUMBERS = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16}


class ExactEngine(OrtEngine):
    """An OrtEngine that does not round activations: any remaining error has another cause."""

    def _stored(self, dtype: Number) -> Number:
        return self.manifest.cache.dtype if dtype == "int8" else dtype

    def _model(self, path: Path, options: Any) -> str | bytes:
        model = onnx.load(path, load_external_data=False)
        dtype = NUMBERS[self.manifest.cache.dtype]
        leave_out_rounding(model)
        for port in (*model.graph.input, *model.graph.output):
            if port.type.tensor_type.elem_type == onnx.TensorProto.INT8:
                port.type.tensor_type.elem_type = dtype
        options.add_session_config_entry(LEVEL, str(FLOAT))
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        serialized: bytes = model.SerializeToString()
        return serialized


def leave_out_rounding(model: onnx.ModelProto) -> None:
    """Change a graph so that it rounds no activation; a session needs ``LEVEL`` at ``FLOAT``, too."""
    _leave_out_rounding(model.graph)


def _leave_out_rounding(graph: onnx.GraphProto, *, is_branch: bool = False) -> None:
    for node in graph.node:
        for branch in branches_of(node):
            _leave_out_rounding(branch, is_branch=True)
        if node.name.startswith(ROUNDING):
            is_product = node.op_type == "MatMulIntegerToFloat"  # of activations on both sides
            kind, inputs = ("MatMul", node.input[:2]) if is_product else ("Identity", node.input[:1])
            node.CopyFrom(helper.make_node(kind, inputs, node.output, node.name))
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = FLOAT
    nodes = [new for node in graph.node for new in _of_floats(node, is_branch=is_branch)]
    graph.ClearField("node")
    graph.node.extend(nodes)


def branches_of(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Returns the graphs of which a node runs one."""
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]


def _of_floats(node: onnx.NodeProto, *, is_branch: bool) -> list[onnx.NodeProto]:
    """Returns the node, or for an integer product the nodes that compute it with float activations.

    ONNX Runtime 1.31 fails where a branch dequantizes a weight of the graph, so those are cast and scaled.
    """
    if node.op_type != "MatMulIntegerToFloat":
        return [node]
    left, weight, _, scales = node.input[:4]
    (out,) = node.output
    zero, bias = (node.input[place] if len(node.input) > place else "" for place in (5, 6))
    inputs: list[str] = [weight, scales]
    found: list[onnx.NodeProto] = []
    if zero:  # one for all columns, of which DequantizeLinear wants one each
        found = [
            helper.make_node("Shape", [scales], [f"{out}.shape"]),
            helper.make_node("Expand", [zero, f"{out}.shape"], [f"{out}.zeros"]),
        ]
        inputs.append(f"{out}.zeros")
    if is_branch:
        assert not zero, node.name
        found = [
            helper.make_node("Cast", [weight], [f"{out}.cast"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.cast", scales], [f"{out}.weight"]),
        ]
    else:
        found.append(helper.make_node("DequantizeLinear", inputs, [f"{out}.weight"], axis=1))
    found.append(helper.make_node("MatMul", [left, f"{out}.weight"], [f"{out}.product" if bias else out]))
    return [*found, *([helper.make_node("Add", [f"{out}.product", bias], [out])] if bias else [])]

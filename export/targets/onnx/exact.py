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

NUMBERS = {"float32": onnx.TensorProto.FLOAT, "float16": onnx.TensorProto.FLOAT16}


class ExactEngine(OrtEngine):
    """An OrtEngine that does not round activations: any remaining error has another cause."""

    def _stored(self, dtype: Number) -> Number:
        return self.manifest.cache.dtype if dtype == "int8" else dtype

    def _model(self, path: Path, options: Any) -> str | bytes:
        model = onnx.load(path, load_external_data=False)
        dtype = NUMBERS[self.manifest.cache.dtype]
        for node in model.graph.node:
            if node.name.startswith(ROUNDING):
                node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = FLOAT
        nodes = [new for node in model.graph.node for new in _of_floats(node)]
        model.graph.ClearField("node")
        model.graph.node.extend(nodes)
        for port in (*model.graph.input, *model.graph.output):
            if port.type.tensor_type.elem_type == onnx.TensorProto.INT8:
                port.type.tensor_type.elem_type = dtype
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", str(FLOAT))
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        serialized: bytes = model.SerializeToString()
        return serialized


def _of_floats(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Returns the node, or for an integer product the nodes that compute it with float activations."""
    if node.op_type != "MatMulIntegerToFloat":
        return [node]
    left, weight, _, scales = node.input[:4]
    (out,) = node.output
    found = [helper.make_node("DequantizeLinear", [weight, scales], [f"{out}.weight"], axis=1)]
    bias = node.input[6] if len(node.input) > 6 else ""
    found.append(helper.make_node("MatMul", [left, f"{out}.weight"], [f"{out}.product" if bias else out]))
    return [*found, *([helper.make_node("Add", [f"{out}.product", bias], [out])] if bias else [])]

"""Engine of a bundle's source graphs in float, without rounding of activations, on ONNX Runtime's CPU.

Constants are the stored ones: integers of 4 and 8 bits, and of 16 for small tensors.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.onnx.graph import ROUNDING
from phantom_edge.export.targets.qnn.engine import layout_of
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.runtime.steps import Arrays, StepsEngine


class InFloat:
    """A function in float32."""

    def __init__(self, path: Path) -> None:
        ort = need_onnx_runtime()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        self.session = ort.InferenceSession(without_rounding(path), options, providers=["CPUExecutionProvider"])
        self.outputs = [port.name for port in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        return dict(zip(self.outputs, self.session.run(None, dict(inputs)), strict=True))


class ExactQnnEngine(StepsEngine):
    """Runs a bundle of target qnn in float."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        parts = bundle.manifest.parts
        functions = {name: InFloat(bundle.file(part.source)) for name, part in parts.items()}
        ports = [replace(port, dtype="float32") for port in parts["decoder"].inputs]
        super().__init__(bundle, functions, ports, layout_of(bundle), bundle.facts(HexagonFacts))


def without_rounding(path: Path) -> bytes:
    """Returns a graph without the operators that only round."""
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        if node.name.startswith(ROUNDING):
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    found: bytes = model.SerializeToString()
    return found

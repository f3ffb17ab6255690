"""A bundle's own graphs and integers, with the sums of quantized layers taken in float."""

from pathlib import Path
from typing import Any

import onnx

from phantom_edge.runtime.ort import OrtEngine

FLOAT = 1
"""The accuracy level of MatMulNBits that rounds no activation."""


class ExactEngine(OrtEngine):
    """As OrtEngine, but activations are not rounded: what is left of an error is not rounding's."""

    def _model(self, path: Path, options: Any) -> str | bytes:
        model = onnx.load(path, load_external_data=False)
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "accuracy_level":
                    attribute.i = FLOAT
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
        serialized: bytes = model.SerializeToString()
        return serialized

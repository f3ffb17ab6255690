"""Options of target onnx."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.export.targets.target import Options, option

Rows = Literal["float", "int8"]


@dataclass(frozen=True)
class OnnxOptions(Options):
    """``cache`` is the format of keys and values; ``opset_only`` writes standard operators alone."""

    cache: Rows = option(
        "float",
        "Format of keys and values: float, or int8 with a scale for every row (a quarter of float32's memory).",
        choices=("float", "int8"),
    )
    opset_only: bool = option(
        False, "Write quantized layers in standard operators instead of ONNX Runtime's own.", short=True
    )

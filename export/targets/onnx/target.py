"""Target onnx: vision and decoder as ONNX graphs, for ONNX Runtime and other readers of ONNX."""

from typing import Literal

from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.onnx.options import OnnxOptions
from phantom_edge.export.targets.target import Exact, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.runtime.tracing import Pass


def _making() -> Making:
    need("onnx_ir", "export")
    need_onnx_runtime()
    from phantom_edge.export.targets.onnx.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    from phantom_edge.export.targets.onnx.engine import OrtEngine

    return OrtEngine


def _exact() -> Exact:
    from phantom_edge.export.targets.onnx.proving import exact

    return exact


def _trace() -> Pass:
    from phantom_edge.export.targets.onnx.trace import traced_bundle

    return traced_bundle


BOTH: tuple[Literal["float", "int8"], ...] = ("float", "int8")

TARGET = Target(
    name="onnx",
    title="ONNX Runtime, and all that reads ONNX",
    extra="export",
    options=OnnxOptions,
    precision="fp32",
    making=_making,
    engine=_engine,
    exact=_exact,
    trace=_trace,
    processor="cpu",
    tools=("onnx", "onnx-ir", "torch"),
    count=Count(rotations=1, ties="always", head_block=128, two_forms=True),
    variants=(
        Variant("fp32", caches=BOTH),
        Variant("fp16"),
        *(Variant(recipe, caches=BOTH) for recipe in ("int8", "mixed", "int4", "int4-exact8", "int4-g64", "int4-g128")),
    ),
    transports=("host", "ssh", "android"),
    drafts=True,
)

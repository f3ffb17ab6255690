"""Target web: bundles for pages, with graphs for the engines of ONNX Runtime Web."""

from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.target import Exact, MakeEngine, Making, Target
from phantom_edge.export.targets.web.facts import WebFacts, forms_of
from phantom_edge.export.targets.web.options import WebOptions
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.runtime.tracing import Pass


def _making() -> Making:
    need("onnx_ir", "export")
    need_onnx_runtime()
    from phantom_edge.export.targets.web.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    from phantom_edge.export.targets.web.engine import engine_of

    return engine_of


def _exact() -> Exact:
    from phantom_edge.export.targets.web.proving import exact

    return exact


def _trace() -> Pass:
    from phantom_edge.export.targets.web.engine import traced

    return traced


BLOCK = 128
"""Block of MatMulNBits for rows with one scale."""

ON_GPU = Count(rotations=1, ties="always", head_block=BLOCK, row_block=BLOCK)
ON_WASM, ON_WEBGPU = "--engines wasm", "--engines webgpu"
GROUPED = ("mixed", "int4", "int4-g64", "int4-g128")
"""Recipes of groups, which WASM multiplies too slowly to plan for."""

TARGET = Target(
    name="web",
    title="ONNX Runtime Web, for pages",
    extra="export",
    options=WebOptions,
    precision="fp32",
    making=_making,
    engine=_engine,
    exact=_exact,
    trace=_trace,
    processor="cpu",
    tools=("onnx", "onnx-ir", "torch"),
    count=Count(rotations=1, ties="always"),
    variants=(
        *(Variant(weights, ON_WASM) for weights in ("fp32", "int8")),
        *(Variant(weights, ON_WEBGPU, compute="gpu", count=ON_GPU) for weights in ("fp32", "fp16", "int8", *GROUPED)),
    ),
    transports=("host",),
    facts=WebFacts,
    forms=forms_of,
)

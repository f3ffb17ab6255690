"""Target litert: .tflite graphs for LiteRT, Google's runtime on Android."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.litert.names import firsts_of
from phantom_edge.export.targets.litert.options import LiteRtOptions
from phantom_edge.export.targets.target import Exact, Lint, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need

if TYPE_CHECKING:
    from phantom_edge.export.lint import Report


def _making() -> Making:
    need("ai_edge_litert", "litert")
    from phantom_edge.export.targets.litert.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    need("ai_edge_litert", "litert")
    from phantom_edge.export.targets.litert.engine import LiteRtEngine

    return LiteRtEngine


def _exact() -> Exact:
    from phantom_edge.export.targets.litert.proving import exact

    return exact


def _lint() -> "Callable[[Bundle], Report]":
    need("ai_edge_litert", "litert")
    need("torch", "model")
    from phantom_edge.export.targets.litert.lint import lint

    return lint


ABOUT = (
    "Eligible: free of the known faults at which LiteRT computes other numbers without an error. It decides when it "
    "loads the file which operators XNNPACK takes; its own kernels compute the others."
)

WHOLE = Count(scales=("float32", "float16"), table_block=None, fixed=True)
"""Storage of graphs for GPUs and NPUs."""

TARGET = Target(
    name="litert",
    title="LiteRT and LiteRT-LM, for Android",
    extra="litert",
    options=LiteRtOptions,
    precision="fp32",
    making=_making,
    engine=_engine,
    exact=_exact,
    lint=Lint(_lint, "(for {}) in LiteRT", ABOUT),
    untraced="LiteRT's Python package reports no times of operators",
    processor="cpu",
    tools=("ai-edge-litert", "flatbuffers", "litert-lm-builder", "torch"),
    facts=LiteRtFacts,
    count=replace(WHOLE, firsts=firsts_of),
    variants=(
        *(Variant(weights) for weights in ("fp32", "int8", "int4")),
        *(Variant(weights, "--compute gpu", compute="gpu", count=WHOLE) for weights in ("fp32", "int8", "int4-row")),
        *(Variant(weights, "--compute npu", compute="npu", count=WHOLE) for weights in ("int8", "int4-row")),
    ),
    transports=("host", "ssh"),
)

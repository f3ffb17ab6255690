"""Target litert: .tflite graphs for LiteRT, Google's runtime on Android."""

from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.litert.options import LiteRtOptions
from phantom_edge.export.targets.target import Exact, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need


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


TARGET = Target(
    name="litert",
    title="LiteRT and LiteRT-LM, for Android",
    extra="litert",
    options=LiteRtOptions,
    precision="fp32",
    making=_making,
    engine=_engine,
    exact=_exact,
    untraced="LiteRT's Python package reports no times of operators",
    processor="cpu",
    tools=("ai-edge-litert", "flatbuffers", "litert-lm-builder", "torch"),
    facts=LiteRtFacts,
)

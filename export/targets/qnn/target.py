"""Target qnn: graphs in fixed point, compiled for the tensor processor of a Qualcomm chip."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.qnn.facts import HexagonFacts, is_simulated
from phantom_edge.export.targets.qnn.options import QnnOptions
from phantom_edge.export.targets.target import Exact, Lint, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need

if TYPE_CHECKING:
    from phantom_edge.export.lint import Report


def _making() -> Making:
    need("onnx_ir", "export")
    from phantom_edge.export.targets.qnn.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    from phantom_edge.export.targets.qnn.engine import QnnEngine

    return QnnEngine


def _exact() -> Exact:
    from phantom_edge.export.targets.qnn.proving import exact

    return exact


def _lint() -> "Callable[[Bundle], Report]":
    need("onnx", "export")
    from phantom_edge.export.targets.qnn.lint import lint

    return lint


ABOUT = (
    "Placement is proved: the graphs were compiled with the CPU disabled. Compiled graphs may still compute wrong "
    "numbers, which rules find. To compare numbers: phantom-edge verify"
)

TARGET = Target(
    name="qnn",
    title="Qualcomm's Hexagon processor, for Snapdragons",
    extra="qnn",
    beside=("export",),
    options=QnnOptions,
    precision="fp16",
    making=_making,
    engine=_engine,
    exact=_exact,
    other="other questions for --calib, or more of them",
    keeps_parts=True,
    lint=Lint(_lint, "(for {}) on Hexagon", ABOUT),
    untraced="ONNX Runtime has one node for all operators on Qualcomm's processor",
    processor="npu",
    stand_in=lambda: "Qualcomm's simulator of the processor" if is_simulated() else "",
    tools=("onnxruntime-qnn", "onnxruntime", "onnx", "onnx-ir", "torch"),
    count=Count(is_half=True, plain="uint16", scales=("float32", "float32"), fixed=True),
    variants=(
        Variant("int8", "--share-weights --calib TRIPLES.jsonl"),
        Variant("int4", "--share-weights --calib TRIPLES.jsonl"),
    ),
    facts=HexagonFacts,
    multiple=8,
    calibrates=True,
)

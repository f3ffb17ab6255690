"""Target jetson: graphs for TensorRT on boards, with the runner that builds, checks and runs its engines there."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from phantom_edge.bundle.cache import ALIGNED
from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.jetson.options import JetsonOptions
from phantom_edge.export.targets.target import NORMAL_FLOAT16, Lint, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need
from phantom_edge.runtime.tracing import Pass

if TYPE_CHECKING:
    from phantom_edge.export.lint import Report


def _making() -> Making:
    need("onnx_ir", "export")
    from phantom_edge.export.targets.jetson.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    from phantom_edge.export.targets.jetson.engine import engine_of

    return engine_of


def _trace() -> Pass:
    from phantom_edge.export.targets.jetson.engine import traced

    return traced


def _lint() -> "Callable[[Bundle], Report]":
    need("onnx", "export")
    from phantom_edge.export.targets.jetson.lint import lint

    return lint


ABOUT = (
    "TensorRT is documented to take such graphs. Only a board proves it: python3 runner.py, in the bundle. "
    "Multiply-adds are those with weights, for one row of input, as the number of rows is free."
)

TARGET = Target(
    name="jetson",
    title="TensorRT, for NVIDIA Jetson boards",
    extra="export",
    options=JetsonOptions,
    precision="fp16",
    making=_making,
    engine=_engine,
    rounds=False,
    other="--weights fp16",
    lint=Lint(_lint, "(for {}) in TensorRT", ABOUT),
    trace=_trace,
    processor="gpu",
    tools=("onnx", "onnx-ir", "torch"),
    count=Count(is_half=True, rotations=1, row_bytes=ALIGNED, ties="float"),
    variants=(Variant("fp16"), Variant("int8"), Variant("int4-g64"), Variant("int4-g128")),
    facts=BoardFacts,
    multiple=8,
    least=NORMAL_FLOAT16,
)

"""Target jetson: graphs for TensorRT on boards, with the runner that builds, checks and runs its engines there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phantom_edge.bundle.cache import ALIGNED
from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.jetson.options import JetsonOptions
from phantom_edge.export.targets.target import (
    NORMAL_FLOAT16,
    Count,
    Lint,
    Lowered,
    Settings,
    Target,
    Variant,
)
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.progress import Progress
from phantom_edge.runtime.tracing import Found

if TYPE_CHECKING:
    from phantom_edge.checkpoint.quantized.schemes import Scheme
    from phantom_edge.checkpoint.source import Source
    from phantom_edge.export.lint import Report
    from phantom_edge.export.passes.phantom_rank import Chosen
    from phantom_edge.foundation.resume import Unfinished
    from phantom_edge.models.config import PhantomConfig
    from phantom_edge.runtime.engine import Engine


def _settle(config: "PhantomConfig", schemes: "Mapping[str, Scheme]", settings: Settings) -> Settings:
    from phantom_edge.export.targets.jetson.lower import settle

    return settle(config, schemes, settings)


def _lower(
    source: "Source", chosen: "Sequence[Chosen]", settings: Settings, parts: "Unfinished", begin: Progress
) -> Lowered:
    from phantom_edge.export.targets.jetson.lower import lower

    return lower(source, chosen, settings, parts, begin)


def _prepare() -> None:
    need("onnx_ir", "export")


def _engine(bundle: Bundle, threads: int) -> "Engine":
    from phantom_edge.export.targets.jetson.engine import engine_of

    return engine_of(bundle, threads)


def _lint(bundle: Bundle) -> "Report":
    need("onnx", "export")
    from phantom_edge.export.targets.jetson.lint import lint

    return lint(bundle)


def _trace(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    from phantom_edge.export.targets.jetson.engine import traced

    return traced(bundle, threads, depths, folder)


def _readme(lowered: Lowered) -> str:
    from phantom_edge.export.targets.jetson.readme import readme

    return readme(lowered)


ABOUT = "TensorRT is documented to take such graphs. Only a board proves it: python3 runner.py, in the bundle."


TARGET = Target(
    name="jetson",
    title="TensorRT, for NVIDIA Jetson boards",
    extra="export",
    options=JetsonOptions,
    precision="fp16",
    prepare=_prepare,
    settle=_settle,
    lower=_lower,
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
    readme=_readme,
    multiple=8,
    least=NORMAL_FLOAT16,
)

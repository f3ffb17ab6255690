"""Target onnx: vision and decoder as ONNX graphs, for ONNX Runtime and other readers of ONNX."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.onnx.options import OnnxOptions
from phantom_edge.export.targets.target import Count, Lowered, Settings, Target, Variant
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.progress import Progress
from phantom_edge.runtime.tracing import Found

if TYPE_CHECKING:
    from phantom_edge.checkpoint.quantized.schemes import Scheme
    from phantom_edge.checkpoint.source import Source
    from phantom_edge.export.passes.phantom_rank import Chosen
    from phantom_edge.export.targets.trials import Trial
    from phantom_edge.foundation.resume import Unfinished
    from phantom_edge.models.config import PhantomConfig
    from phantom_edge.reference import Reference
    from phantom_edge.runtime.engine import Engine


def _prepare() -> None:
    need("onnx_ir", "export")


def _settle(config: "PhantomConfig", schemes: "Mapping[str, Scheme]", settings: Settings) -> Settings:
    from phantom_edge.export.targets.onnx.lower import settle

    return settle(config, schemes, settings)


def _lower(
    source: "Source", chosen: "Sequence[Chosen]", settings: Settings, parts: "Unfinished", begin: Progress
) -> Lowered:
    from phantom_edge.export.targets.onnx.lower import lower

    return lower(source, chosen, settings, parts, begin)


def _engine(bundle: Bundle, threads: int) -> "Engine":
    from phantom_edge.export.targets.onnx.engine import OrtEngine

    return OrtEngine(bundle, threads)


def _exact(bundle: Bundle, reference: "Reference", *, strict: bool) -> "list[Trial]":
    from phantom_edge.export.targets.onnx.exact import ExactEngine
    from phantom_edge.export.targets.trials import trials

    return trials(bundle, reference, _engine, ExactEngine)


def _trace(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    from phantom_edge.export.targets.onnx.engine import OrtEngine
    from phantom_edge.export.targets.onnx.trace import traced

    return traced(OrtEngine(bundle, threads, folder), depths)


BOTH: tuple[Literal["float", "int8"], ...] = ("float", "int8")

TARGET = Target(
    name="onnx",
    title="ONNX Runtime, and all that reads ONNX",
    extra="export",
    options=OnnxOptions,
    precision="fp32",
    prepare=_prepare,
    settle=_settle,
    lower=_lower,
    engine=_engine,
    exact=_exact,
    trace=_trace,
    processor="cpu",
    tools=("onnx", "onnx-ir", "torch"),
    count=Count(rotations=1, ties="always", head_block=128),
    variants=(
        Variant("fp32", caches=BOTH),
        Variant("fp16"),
        *(Variant(recipe, caches=BOTH) for recipe in ("int8", "mixed", "int4", "int4-g64", "int4-g128")),
    ),
    transports=("host", "ssh", "android"),
)

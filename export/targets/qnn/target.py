"""Target qnn: graphs in fixed point, compiled for the tensor processor of a Qualcomm chip."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.export.targets.qnn.options import QnnOptions
from phantom_edge.export.targets.target import Count, Lint, Lowered, Settings, Target, Variant
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.progress import Progress

if TYPE_CHECKING:
    from phantom_edge.checkpoint.quantized.schemes import Scheme
    from phantom_edge.checkpoint.source import Source
    from phantom_edge.export.lint import Report
    from phantom_edge.export.passes.phantom_rank import Chosen
    from phantom_edge.export.targets.trials import Trial
    from phantom_edge.foundation.resume import Unfinished
    from phantom_edge.models.config import PhantomConfig
    from phantom_edge.reference import Reference
    from phantom_edge.runtime.engine import Engine


def _settle(config: "PhantomConfig", schemes: "Mapping[str, Scheme]", settings: Settings) -> Settings:
    from phantom_edge.export.targets.qnn.lower import settle

    return settle(config, schemes, settings)


def _lower(
    source: "Source", chosen: "Sequence[Chosen]", settings: Settings, parts: "Unfinished", begin: Progress
) -> Lowered:
    from phantom_edge.export.targets.qnn.lower import lower

    return lower(source, chosen, settings, parts, begin)


def _prepare() -> None:
    need("onnx_ir", "export")
    from phantom_edge.export.targets.qnn.engine import register

    register()


def _engine(bundle: Bundle, threads: int) -> "Engine":
    from phantom_edge.export.targets.qnn.engine import QnnEngine

    return QnnEngine(bundle, threads)


def _exact(bundle: Bundle, reference: "Reference", *, strict: bool) -> "list[Trial]":
    from phantom_edge.export.targets.qnn.proving import fixed_point_trials

    return fixed_point_trials(bundle, reference)


def _lint(bundle: Bundle) -> "Report":
    need("onnx", "export")
    from phantom_edge.export.targets.qnn.lint import lint

    return lint(bundle)


def _readme(lowered: Lowered) -> str:
    from phantom_edge.export.targets.qnn.readme import readme

    return readme(lowered)


ABOUT = (
    "Placement is proved: the graphs were compiled with the CPU disabled. Compiled graphs may still compute wrong "
    "numbers, which rules find. To compare numbers: phantom-edge verify"
)


TARGET = Target(
    name="qnn",
    title="Qualcomm's Hexagon processor, for Snapdragons",
    extra="qnn",
    options=QnnOptions,
    precision="fp16",
    prepare=_prepare,
    settle=_settle,
    lower=_lower,
    engine=_engine,
    exact=_exact,
    other="other questions for --calib, or more of them",
    keeps_parts=True,
    lint=Lint(_lint, "(for {}) on Hexagon", ABOUT),
    untraced="ONNX Runtime has one node for all operators on Qualcomm's processor",
    processor="npu",
    tools=("onnxruntime-qnn", "onnxruntime", "onnx", "onnx-ir", "torch"),
    count=Count(is_half=True, plain="uint16", scales=("float32", "float32"), fixed=True),
    variants=(
        Variant("int8", "--share-weights --calib TRIPLES.jsonl"),
        Variant("int4", "--share-weights --calib TRIPLES.jsonl"),
    ),
    facts=HexagonFacts,
    readme=_readme,
    multiple=8,
    calibrates=True,
)

"""Target coreai, an experiment: assets for Core AI, which follows Core ML in iOS 27 and macOS 27."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.coreml.facts import MULTIPLE, AppleFacts
from phantom_edge.export.targets.target import (
    NORMAL_FLOAT16,
    Lowered,
    Options,
    Settings,
    Target,
)
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.progress import Progress

if TYPE_CHECKING:
    from phantom_edge.checkpoint.quantized.schemes import Scheme
    from phantom_edge.checkpoint.source import Source
    from phantom_edge.export.passes.phantom_rank import Chosen
    from phantom_edge.export.targets.trials import Trial
    from phantom_edge.foundation.resume import Unfinished
    from phantom_edge.models.config import PhantomConfig
    from phantom_edge.reference import Reference
    from phantom_edge.runtime.engine import Engine


def _settle(config: "PhantomConfig", schemes: "Mapping[str, Scheme]", settings: Settings) -> Settings:
    from phantom_edge.export.targets.coreai.lower import settle

    return settle(config, schemes, settings)


def _lower(
    source: "Source", chosen: "Sequence[Chosen]", settings: Settings, parts: "Unfinished", begin: Progress
) -> Lowered:
    from phantom_edge.export.targets.coreai.lower import lower

    return lower(source, chosen, settings, parts, begin)


def _prepare() -> None:
    from phantom_edge.export.targets.coreai.importing import coreai

    coreai("coreai_torch")


def _engine(bundle: Bundle, threads: int) -> "Engine":
    need("torch", "model")
    _prepare()
    from phantom_edge.export.targets.coreai.engine import CoreAiEngine

    return CoreAiEngine(bundle, threads)


def _exact(bundle: Bundle, reference: "Reference", *, strict: bool) -> "list[Trial]":
    from phantom_edge.export.targets.coreai.engine import CoreAiEngine
    from phantom_edge.export.targets.coreai.scales import AssetReference
    from phantom_edge.export.targets.coreml.proving import package_trials

    return package_trials(bundle, reference, CoreAiEngine, AssetReference, strict=strict)


TARGET = Target(
    name="coreai",
    title="Core AI, an experiment",
    extra="coreai",
    options=Options,
    precision="fp16",
    prepare=_prepare,
    settle=_settle,
    lower=_lower,
    engine=_engine,
    exact=_exact,
    other="--target coreml",
    untraced="Core AI reports no times of operators",
    processor="npu",
    tools=("coreai-core", "coreai-torch", "torch"),
    facts=AppleFacts,
    multiple=MULTIPLE,
    least=NORMAL_FLOAT16,
)

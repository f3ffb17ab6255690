"""Target coreml: ML programs for Apple's GPUs and Neural Engine, in packages that Xcode compiles."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.coreml.facts import MULTIPLE, AppleFacts
from phantom_edge.export.targets.coreml.options import CoreMlOptions
from phantom_edge.export.targets.target import NORMAL_FLOAT16, Count, Lint, Lowered, Settings, Target, Variant
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.quiet import need_quietly
from phantom_edge.foundation.versions import Clash

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
    from phantom_edge.export.targets.coreml.lower import settle

    return settle(config, schemes, settings)


def _lower(
    source: "Source", chosen: "Sequence[Chosen]", settings: Settings, parts: "Unfinished", begin: Progress
) -> Lowered:
    from phantom_edge.export.targets.coreml.lower import lower

    return lower(source, chosen, settings, parts, begin)


def _prepare() -> None:
    need_quietly("coremltools")


def _engine(bundle: Bundle, threads: int) -> "Engine":
    need("torch", "model")
    from phantom_edge.export.targets.coreml.engine import CoreMlEngine

    return CoreMlEngine(bundle, threads)


def _exact(bundle: Bundle, reference: "Reference", *, strict: bool) -> "list[Trial]":
    from phantom_edge.export.targets.coreml.engine import CoreMlEngine
    from phantom_edge.export.targets.coreml.float16_reference import StoredReference
    from phantom_edge.export.targets.coreml.proving import package_trials

    return package_trials(bundle, reference, CoreMlEngine, StoredReference, strict=strict)


def _lint(bundle: Bundle) -> "Report":
    need("torch", "model")
    from phantom_edge.export.targets.coreml.lint.bundle import lint

    return lint(bundle)


def _readme(lowered: Lowered) -> str:
    from phantom_edge.export.targets.coreml.readme import readme

    return readme(lowered)


ABOUT = (
    "Eligible is not placed: the compiler on the device decides, and leaves small models on the CPU although it could "
    "run all of them elsewhere. Xcode's performance report of a package, or MLComputePlan on the device, shows what "
    "runs where. See https://ask-meridian.uk/blog/apple-neural-engine-eligibility-vs-placement/ and "
    "https://github.com/kasper0406/stablehlo-coreml/pull/110"
)


TARGET = Target(
    name="coreml",
    title="Core ML, for iPhones, iPads and Macs",
    extra="coreml",
    options=CoreMlOptions,
    precision="fp16",
    prepare=_prepare,
    settle=_settle,
    lower=_lower,
    engine=_engine,
    exact=_exact,
    other="another --compute",
    lint=Lint(_lint, "({} profile) on the Neural Engine", ABOUT),
    untraced="Core ML reports no times of operators; Xcode's performance reports show them",
    processor="npu",
    tools=("coremltools", "torch"),
    count=Count(is_half=True, step=MULTIPLE, fixed=True),
    variants=(
        Variant("fp16", "--compute ane"),
        Variant("fp16", "--compute gpu", compute="gpu"),
        Variant("int8", "--compute ane"),
        Variant("int8", "--compute gpu", compute="gpu"),
        Variant("lut4", "--compute ane"),
        Variant("int4", "--compute gpu", compute="gpu"),
    ),
    transports=("host", "ssh", "ios"),
    facts=AppleFacts,
    readme=_readme,
    multiple=MULTIPLE,
    least=NORMAL_FLOAT16,
    clashes=(
        Clash(
            {"coremltools": ">=9,<9.1", "torch": ">=2.14"},
            "coremltools 9.0 was tested with torch up to 2.13",
            "pip install torch==2.13.0",
        ),
    ),
)

"""Target coreml: ML programs for Apple's GPUs and Neural Engine, in packages that Xcode compiles."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.coreml.facts import MULTIPLE, AppleFacts
from phantom_edge.export.targets.coreml.options import CoreMlOptions
from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.target import NORMAL_FLOAT16, Exact, Lint, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.quiet import need_quietly
from phantom_edge.foundation.versions import Clash

if TYPE_CHECKING:
    from phantom_edge.export.lint import Report


def _making() -> Making:
    need_quietly("coremltools")
    from phantom_edge.export.targets.coreml.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    need("torch", "model")
    from phantom_edge.export.targets.coreml.engine import CoreMlEngine

    return CoreMlEngine


def _exact() -> Exact:
    from phantom_edge.export.targets.coreml.proving import exact

    return exact


def _lint() -> "Callable[[Bundle], Report]":
    need("torch", "model")
    from phantom_edge.export.targets.coreml.lint.bundle import lint

    return lint


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
    making=_making,
    engine=_engine,
    exact=_exact,
    other="another --compute",
    stand_in=lambda: "" if sys.platform == "darwin" else "an interpreter of Core ML's programs",
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

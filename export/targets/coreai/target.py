"""Target coreai, an experiment: assets for Core AI, which follows Core ML in iOS 27 and macOS 27."""

from phantom_edge.export.targets.coreml.facts import MULTIPLE, AppleFacts
from phantom_edge.export.targets.target import NORMAL_FLOAT16, Exact, MakeEngine, Making, Options, Target
from phantom_edge.foundation.errors import need


def need_coreai() -> None:
    """Import Core AI's packages, or raise EdgeError with the command that installs them."""
    from phantom_edge.export.targets.coreai.importing import coreai

    coreai("coreai_torch")


def _making() -> Making:
    need_coreai()
    from phantom_edge.export.targets.coreai.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    need("torch", "model")
    need_coreai()
    from phantom_edge.export.targets.coreai.engine import CoreAiEngine

    return CoreAiEngine


def _exact() -> Exact:
    from phantom_edge.export.targets.coreai.proving import exact

    return exact


TARGET = Target(
    name="coreai",
    title="Core AI, an experiment",
    extra="coreai",
    options=Options,
    precision="fp16",
    making=_making,
    engine=_engine,
    exact=_exact,
    other="--target coreml",
    untraced="Core AI reports no times of operators",
    processor="npu",
    stand_in=lambda: "Apple's interpreter of the programs",
    tools=("coreai-core", "coreai-torch", "torch"),
    facts=AppleFacts,
    multiple=MULTIPLE,
    least=NORMAL_FLOAT16,
)

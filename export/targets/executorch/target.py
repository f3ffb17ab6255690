"""Target executorch: one program with the methods that ExecuTorch's own multimodal runners call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.executorch.options import ExecuTorchOptions
from phantom_edge.export.targets.target import Count, Lowered, Settings, Target, Variant
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.quiet import need_quietly
from phantom_edge.foundation.versions import Clash
from phantom_edge.runtime.tracing import Dump, Found

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
    from phantom_edge.export.targets.executorch.lower import settle

    return settle(config, schemes, settings)


def _lower(
    source: "Source", chosen: "Sequence[Chosen]", settings: Settings, parts: "Unfinished", begin: Progress
) -> Lowered:
    from phantom_edge.export.targets.executorch.lower import lower

    return lower(source, chosen, settings, parts, begin)


def _prepare() -> None:
    need_quietly("executorch.exir")


def _engine(bundle: Bundle, threads: int) -> "Engine":
    need("torch", "model")
    _prepare()
    from phantom_edge.export.targets.executorch.engine import PteEngine

    return PteEngine(bundle, threads)


def _exact(bundle: Bundle, reference: "Reference", *, strict: bool) -> "list[Trial]":
    from phantom_edge.export.targets.executorch.engine import ExactPteEngine
    from phantom_edge.export.targets.trials import trials

    return trials(bundle, reference, _engine, ExactPteEngine)


def _trace(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    from phantom_edge.export.targets.executorch.trace import dumped

    return dumped(bundle, threads, depths, folder)


def _dump(path: Path) -> Dump:
    need("torch", "model")
    from phantom_edge.export.targets.executorch.etdump import read_etdump

    return read_etdump(path)


TARGET = Target(
    name="executorch",
    title="ExecuTorch, for Android and iOS",
    extra="executorch",
    options=ExecuTorchOptions,
    precision="fp32",
    prepare=_prepare,
    settle=_settle,
    lower=_lower,
    engine=_engine,
    exact=_exact,
    trace=_trace,
    dump=_dump,
    processor="cpu",
    tools=("executorch", "torch", "torchao"),
    count=Count(rotations=2, scales=("float32", "bfloat16"), table_scales="float32", table_block=None),
    variants=(Variant("fp32"), Variant("int8"), Variant("int4")),
    transports=("host", "ssh", "ios"),
    multiple=8,
    clashes=(
        Clash(
            {"optimum-executorch": ">=0", "optimum": ">=2.1"},
            "optimum-executorch pins optimum 2.0 and replaces the export command of other optimum packages",
            "pip uninstall optimum-executorch (phantom-edge brings its own exporters)",
        ),
        Clash(
            {"executorch": "<1.4", "torch": ">=2.13"},
            "executorch before 1.4 was built against an older torch",
            "pip install 'executorch>=1.4.1,<1.5'",
        ),
    ),
)

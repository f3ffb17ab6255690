"""Target executorch: one program with the methods that ExecuTorch's own multimodal runners call."""

from collections.abc import Callable
from pathlib import Path

from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.executorch.options import ExecuTorchOptions
from phantom_edge.export.targets.target import Exact, MakeEngine, Making, Target
from phantom_edge.foundation.errors import need
from phantom_edge.foundation.quiet import need_quietly
from phantom_edge.foundation.versions import Clash
from phantom_edge.runtime.tracing import Dump, Pass


def _making() -> Making:
    need_quietly("executorch.exir")
    from phantom_edge.export.targets.executorch.lower import MAKING

    return MAKING


def _engine() -> MakeEngine:
    need("torch", "model")
    need_quietly("executorch.exir")
    from phantom_edge.export.targets.executorch.engine import PteEngine

    return PteEngine


def _exact() -> Exact:
    from phantom_edge.export.targets.executorch.proving import exact

    return exact


def _trace() -> Pass:
    from phantom_edge.export.targets.executorch.trace import dumped

    return dumped


def _dump() -> Callable[[Path], Dump]:
    need("torch", "model")
    from phantom_edge.export.targets.executorch.etdump import read_etdump

    return read_etdump


TARGET = Target(
    name="executorch",
    title="ExecuTorch, for Android and iOS",
    extra="executorch",
    options=ExecuTorchOptions,
    precision="fp32",
    making=_making,
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

"""Target fake: ONNX graphs under another name, with an option, facts, a rule and a README of its own."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.lint import Report, Source, report
from phantom_edge.export.targets.count import Count, Variant
from phantom_edge.export.targets.target import Lint, MakeEngine, Making, Options, Target, option
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.tracing import Pass


@dataclass(frozen=True)
class FakeOptions(Options):
    level: int = option(3, "How fake it is: 1, 2 or 3.", choices=(1, 2, 3))


@dataclass(frozen=True)
class FakeFacts:
    level: int
    note: str

    def files(self) -> tuple[str, ...]:
        return (self.note,)

    def lines(self) -> tuple[tuple[str, str], ...]:
        return (("fakeness", f"level {self.level}"),)

    def caution(self) -> str:
        return "this is a fake"


def _making() -> Making:
    from phantom_edge.export.targets.onnx.lower import lower as lower_onnx

    def settle(config, schemes, settings):  # type: ignore[no-untyped-def]
        if settings.precision != "fp32":
            raise EdgeError("target fake computes in fp32", "leave --weights out")
        return settings

    def lower(source, chosen, settings, parts, begin):  # type: ignore[no-untyped-def]
        lowered = lower_onnx(source, chosen, replace(settings, options=None), parts, begin)
        parts.part("note", lambda folder: (folder / "fake.txt").write_text("fake") and None)
        return replace(lowered, facts=FakeFacts(settings.own(FakeOptions).level, "fake.txt"))

    return Making(settle, lower, lambda lowered: f"## Fake, {len(lowered.parts)} parts\n")


def _engine() -> MakeEngine:
    from phantom_edge.export.targets.onnx.engine import OrtEngine

    return OrtEngine


def _trace() -> Pass:
    from phantom_edge.export.targets.onnx.trace import traced_bundle

    return traced_bundle


def _lint() -> Callable[[Bundle], Report]:
    from phantom_edge.export.targets.onnx.nodes import Graph
    from phantom_edge.export.targets.onnx.rules import GraphRule

    said = Source("nobody", "https://example.org")
    rule = GraphRule("no-softmax", "slows", "softmax is fake", (said,), lambda node: node.type == "Softmax")

    def lint(bundle: Bundle) -> Report:
        graphs = {name: Graph.open(bundle.file(part.file)).nodes for name, part in bundle.manifest.parts.items()}
        return report("fake", graphs, (rule,), lambda node: node.work, "as faked")

    return lint


TARGET = Target(
    name="fake",
    title="nothing at all",
    extra="export",
    options=FakeOptions,
    precision="fp32",
    making=_making,
    engine=_engine,
    processor="cpu",
    tools=("onnx",),
    lint=Lint(_lint, "({}) in a test", "All of this is fake."),
    trace=_trace,
    count=Count(rotations=1, ties="always", head_block=128),
    variants=(Variant("fp32"),),
    facts=FakeFacts,
)

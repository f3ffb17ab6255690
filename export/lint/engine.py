"""Every operation of a bundle held against every rule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from phantom_edge.bundle.folder import AGAIN, Begin, Bundle, nobody, read_manifest
from phantom_edge.bundle.manifest import Part
from phantom_edge.export.interpreters.mil import Package
from phantom_edge.export.lint.sources import ELIGIBLE, Source
from phantom_edge.export.targets.coreml.lint.nodes import Node, nodes
from phantom_edge.export.targets.coreml.lint.rules import RULES, Severity
from phantom_edge.export.targets.coreml.lint.work import multiply_adds
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json

TARGETS = ("coreml", "jetson", "qnn")
EXAMPLES = 3


class Named(Protocol):
    """An operation of any kind of program."""

    @property
    def type(self) -> str:
        """What it computes."""

    @property
    def name(self) -> str:
        """Of it, in its program."""


Operation = TypeVar("Operation", bound=Named)
Read = TypeVar("Read", bound=Named, contravariant=True)


class OneRule(Protocol[Read]):
    """A rule over operations of one kind."""

    @property
    def name(self) -> str:
        """Of the rule."""

    @property
    def severity(self) -> Severity:
        """What breaking it does."""

    @property
    def what(self) -> str:
        """What it asks, in words."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Who says so."""

    @property
    def note(self) -> str:
        """Where it holds, and what speaks against it."""

    def is_broken(self, node: Read, /) -> bool:
        """By this operation."""


@dataclass(frozen=True)
class PartReport:
    """How much of a part is eligible: no rule blocks it or says that it computes something else."""

    operations: int
    eligible: int
    multiply_adds: int
    eligible_multiply_adds: int

    @property
    def share(self) -> float:
        """Of multiply-adds that are eligible; 1 where there are none."""
        return self.eligible_multiply_adds / self.multiply_adds if self.multiply_adds else 1.0


@dataclass(frozen=True)
class Finding:
    """A rule that is broken: by how many operations of which parts, and the first of them."""

    rule: str
    severity: Severity
    what: str
    note: str
    sources: tuple[Source, ...]
    parts: Mapping[str, int]
    multiply_adds: int
    examples: tuple[str, ...]

    @property
    def operations(self) -> int:
        """That break it."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Report:
    """Of one bundle. ``placement`` is what is known of where it runs."""

    compute: str
    parts: Mapping[str, PartReport]
    findings: tuple[Finding, ...]
    placement: str = ELIGIBLE

    def document(self) -> dict[str, Any]:
        """As JSON."""
        document: dict[str, Any] = to_json(self)
        for name, part in self.parts.items():
            document["parts"][name]["share"] = part.share
        return document


@dataclass
class _Broken:
    """Of one rule, while parts are looked through."""

    parts: dict[str, int] = field(default_factory=dict)
    multiply_adds: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, part: str, node: Named, work: int) -> None:
        self.parts[part] = self.parts.get(part, 0) + 1
        self.multiply_adds += work
        if len(self.examples) < EXAMPLES:
            shown = node.name if node.type in node.name else str(node)
            self.examples.append(f"{part}: {shown}")


def lint(folder: Path, begin: Begin = nobody) -> Report:
    """Look through a bundle, of which ``begin`` is told the bytes to read. Raises EdgeError for what is no such."""
    target = read_manifest(folder).target
    if target not in TARGETS:
        raise EdgeError(
            f"lint knows targets {', '.join(TARGETS[:-1])} and {TARGETS[-1]}; {folder} was made for target {target}",
            f"export it again: phantom-edge export --target {TARGETS[0]}",
        )
    bundle = Bundle.open(folder, begin=begin)
    return {"coreml": _of_packages, "jetson": _for_tensorrt, "qnn": _for_hexagon}[target](bundle)


def _for_hexagon(bundle: Bundle) -> Report:
    """By what Qualcomm documents and its simulator shows, in the graphs that were compiled."""
    from phantom_edge.export.targets.qnn.lint import PLACED, RULES, graphs_of, multiply_adds

    assert bundle.manifest.chip is not None
    graphs = {name: graph.nodes for name, graph in graphs_of(bundle).items()}
    return report(bundle.manifest.chip.name, graphs, RULES, multiply_adds, PLACED)


def _for_tensorrt(bundle: Bundle) -> Report:
    """By what TensorRT documents; multiply-adds are those with weights, of one row."""
    from phantom_edge.export.targets.jetson.lint import DOCUMENTED, RULES, graphs_of

    assert bundle.manifest.board is not None
    graphs = {name: graph.nodes for name, graph in graphs_of(bundle).items()}
    return report(bundle.manifest.board.name, graphs, RULES, lambda node: node.work, DOCUMENTED)


def _of_packages(bundle: Bundle) -> Report:
    folder = bundle.path
    fixed = bundle.manifest.fixed
    if fixed is None:
        raise EdgeError(f"{folder} does not say what computes", AGAIN)
    opened: dict[str, Package] = {}

    def package(part: Part) -> Package:
        if part.file not in opened:
            opened[part.file] = Package.open(folder / part.file)
        return opened[part.file]

    def read(part: Part) -> Iterator[Node]:
        found = package(part)
        return nodes(found, found.function(part.function or None))

    parts = {name: partial(read, part) for name, part in bundle.manifest.parts.items()}
    return report(fixed.compute, parts, tuple(RULES), multiply_adds)


def report(
    compute: str,
    parts: Mapping[str, Callable[[], Iterator[Operation]]],
    rules: Sequence["OneRule[Operation]"],
    work_of: Callable[[Operation], int],
    placement: str = ELIGIBLE,
) -> Report:
    """Hold the operations of parts against rules; ``work_of`` counts their multiply-adds."""
    broken = {rule.name: _Broken() for rule in rules}
    found: dict[str, PartReport] = {}
    for name, read in parts.items():
        operations = eligible = all_work = eligible_work = 0
        for node in read():
            work = work_of(node)
            against = [rule for rule in rules if rule.is_broken(node)]
            for rule in against:
                broken[rule.name].add(name, node, work)
            is_eligible = all(rule.severity == "slows" for rule in against)
            operations, all_work = operations + 1, all_work + work
            eligible, eligible_work = eligible + is_eligible, eligible_work + work * is_eligible
        found[name] = PartReport(operations, eligible, all_work, eligible_work)
    findings = tuple(_finding(rule, broken[rule.name]) for rule in rules if broken[rule.name].parts)
    return Report(compute, found, findings, placement)


def _finding(rule: "OneRule[Any]", broken: _Broken) -> Finding:
    return Finding(
        rule.name,
        rule.severity,
        rule.what,
        rule.note,
        rule.sources,
        broken.parts,
        broken.multiply_adds,
        tuple(broken.examples),
    )

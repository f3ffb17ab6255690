"""Every operation of a bundle held against every rule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import AGAIN, Begin, Bundle, nobody, read_manifest
from phantom_edge.export.bundle.manifest import Part
from phantom_edge.export.lint.nodes import Node, nodes
from phantom_edge.export.lint.rules import RULES, Rule, Severity
from phantom_edge.export.lint.sources import ELIGIBLE, Source
from phantom_edge.export.lint.work import multiply_adds
from phantom_edge.export.mil import Package
from phantom_edge.typed import to_json

TARGET = "coreml"
EXAMPLES = 3


@dataclass(frozen=True)
class PartReport:
    """How much of a part is eligible: no rule blocks it."""

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

    def add(self, part: str, node: Node, work: int) -> None:
        self.parts[part] = self.parts.get(part, 0) + 1
        self.multiply_adds += work
        if len(self.examples) < EXAMPLES:
            shown = node.name if node.type in node.name else str(node)
            self.examples.append(f"{part}: {shown}")


def lint(folder: Path, begin: Begin = nobody) -> Report:
    """Look through a bundle, of which ``begin`` is told the bytes to read. Raises EdgeError for what is no such."""
    target = read_manifest(folder).target
    if target != TARGET:
        raise EdgeError(
            f"lint knows target {TARGET}; {folder} was made for target {target}",
            f"export it again: phantom-edge export --target {TARGET}",
        )
    bundle = Bundle.open(folder, begin=begin)
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

    return report(fixed.compute, {name: partial(read, part) for name, part in bundle.manifest.parts.items()})


def report(
    compute: str, parts: Mapping[str, Callable[[], Iterator[Node]]], rules: Sequence[Rule] = tuple(RULES)
) -> Report:
    """Hold the operations of parts against rules."""
    broken = {rule.name: _Broken() for rule in rules}
    found: dict[str, PartReport] = {}
    for name, read in parts.items():
        operations = eligible = all_work = eligible_work = 0
        for node in read():
            work = multiply_adds(node)
            against = [rule for rule in rules if rule.is_broken(node)]
            for rule in against:
                broken[rule.name].add(name, node, work)
            is_eligible = all(rule.severity != "blocks" for rule in against)
            operations, all_work = operations + 1, all_work + work
            eligible, eligible_work = eligible + is_eligible, eligible_work + work * is_eligible
        found[name] = PartReport(operations, eligible, all_work, eligible_work)
    findings = tuple(_finding(rule, broken[rule.name]) for rule in rules if broken[rule.name].parts)
    return Report(compute, found, findings)


def _finding(rule: Rule, broken: _Broken) -> Finding:
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

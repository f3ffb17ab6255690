"""Rule engine: checks every operation of a bundle against every rule of its target."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from phantom_edge.export.lint.sources import Source
from phantom_edge.foundation.typed import to_json

EXAMPLES = 3

Severity = Literal["blocks", "wrong", "slows"]
"""Effect of a broken rule: not eligible; eligible, but with wrong results; eligible, but slow or fragile."""


class Named(Protocol):
    """An operation of any kind of program."""

    @property
    def type(self) -> str:
        """Operation type."""

    @property
    def name(self) -> str:
        """Name in its program."""


Operation = TypeVar("Operation", bound=Named)


@dataclass(frozen=True)
class Rule(Generic[Operation]):
    """A rule over operations of one kind, and its sources; ``condition`` is true for an operation that breaks it.

    ``what`` is the rule in words, ``note`` its scope, and evidence against it.
    """

    name: str
    severity: Severity
    what: str
    sources: tuple[Source, ...]
    condition: Callable[[Operation], bool]
    note: str = ""

    def is_broken(self, node: Operation) -> bool:
        """True where an operation breaks the rule."""
        return self.condition(node)


@dataclass(frozen=True)
class PartReport:
    """Eligible share of a part: operations that no rule blocks or marks as wrong."""

    operations: int
    eligible: int
    multiply_adds: int
    eligible_multiply_adds: int

    @property
    def share(self) -> float:
        """Share of multiply-adds that are eligible; 1 where there are none."""
        return self.eligible_multiply_adds / self.multiply_adds if self.multiply_adds else 1.0


@dataclass(frozen=True)
class Finding:
    """A broken rule: the number of operations in each part that break it, and the first of them."""

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
        """Number of operations that break the rule."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Report:
    """Lint report of one bundle. ``placement`` describes where it runs, as far as known."""

    compute: str
    parts: Mapping[str, PartReport]
    findings: tuple[Finding, ...]
    placement: str

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        document: dict[str, Any] = to_json(self)
        for name, part in self.parts.items():
            document["parts"][name]["share"] = part.share
        return document


@dataclass
class _Broken:
    """Operations that break one rule, collected over the parts."""

    parts: dict[str, int] = field(default_factory=dict)
    multiply_adds: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, part: str, node: Named, work: int) -> None:
        self.parts[part] = self.parts.get(part, 0) + 1
        self.multiply_adds += work
        if len(self.examples) < EXAMPLES:
            shown = node.name if node.type in node.name else str(node)
            self.examples.append(f"{part}: {shown}")


def report(
    compute: str,
    parts: Mapping[str, Callable[[], Iterator[Operation]]],
    rules: Sequence["Rule[Operation]"],
    work_of: Callable[[Operation], int],
    placement: str,
) -> Report:
    """Checks the operations of parts against rules; ``work_of`` counts their multiply-adds."""
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


def _finding(rule: "Rule[Any]", broken: _Broken) -> Finding:
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

"""Rules over the nodes of an ONNX graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.export.lint.engine import Severity
from phantom_edge.export.lint.sources import Source
from phantom_edge.export.targets.onnx.nodes import Graph, GraphNode


@dataclass(frozen=True)
class GraphRule:
    """A rule for graphs, and its sources; ``condition`` is true for a node that breaks it."""

    name: str
    severity: Severity
    what: str
    sources: tuple[Source, ...]
    condition: Callable[[GraphNode], bool]
    note: str = ""

    def is_broken(self, node: GraphNode) -> bool:
        """True where this node breaks the rule."""
        return self.condition(node)


def broken(path: Path, rules: Sequence[GraphRule]) -> set[str]:
    """Returns the names of the rules that a graph breaks."""
    return {rule.name for node in Graph.open(path).nodes() for rule in rules if rule.is_broken(node)}

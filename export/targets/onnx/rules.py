"""Rules over the nodes of an ONNX graph."""

from collections.abc import Sequence
from pathlib import Path

from phantom_edge.export.lint.engine import Rule
from phantom_edge.export.targets.onnx.nodes import Graph, GraphNode

GraphRule = Rule[GraphNode]
"""A rule for graphs."""


def broken(path: Path, rules: Sequence[GraphRule]) -> set[str]:
    """Returns the names of the rules that a graph breaks."""
    return {rule.name for node in Graph.open(path).nodes() for rule in rules if rule.is_broken(node)}

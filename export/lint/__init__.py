"""Which operations of a bundle a device can take, and why not, with a source for every rule.

Of Core ML bundles that is the Neural Engine. What TensorRT documents of ONNX graphs is in ``tensorrt``; what Qualcomm's
processor takes, and takes and gets wrong, in ``hexagon``.
Nobody but Apple's compiler decides where an operation runs, and it says so on a device only. What is told here is
whether an operation may run there: *eligible, unverified*.

    from pathlib import Path
    from phantom_edge.export.lint import lint

    report = lint(Path("my-bundle"))
    print(report.parts["decoder"].share)             # of multiply-adds, in operations that no rule blocks
    for one in report.findings:
        print(one.rule, one.severity, one.operations, one.examples, one.sources)

A rule is one entry of ``RULES``, with its sources.
"""

from phantom_edge.export.lint.engine import Finding, PartReport, Report, lint
from phantom_edge.export.lint.sources import COMPILED, ELIGIBLE, PLACEMENT, TAKEN, Source
from phantom_edge.export.targets.coreml.lint.nodes import Node, nodes
from phantom_edge.export.targets.coreml.lint.rules import RULES, Rule
from phantom_edge.export.targets.coreml.lint.work import multiply_adds

__all__ = [
    "COMPILED",
    "ELIGIBLE",
    "PLACEMENT",
    "RULES",
    "TAKEN",
    "Finding",
    "Node",
    "PartReport",
    "Report",
    "Rule",
    "Source",
    "lint",
    "multiply_adds",
    "nodes",
]

"""Check of a bundle of packages against the rules."""

from collections.abc import Iterator
from functools import partial

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.part import Part
from phantom_edge.export.interpreters.mil import Package
from phantom_edge.export.lint import Report, report
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.lint.nodes import Node, nodes
from phantom_edge.export.targets.coreml.lint.rules import RULES
from phantom_edge.export.targets.coreml.lint.sources import ELIGIBLE
from phantom_edge.export.targets.coreml.lint.work import multiply_adds


def lint(bundle: Bundle) -> Report:
    """Checks every operation of a bundle's packages."""
    opened: dict[str, Package] = {}

    def package(part: Part) -> Package:
        if part.file not in opened:
            opened[part.file] = Package.open(bundle.path / part.file)
        return opened[part.file]

    def read(part: Part) -> Iterator[Node]:
        found = package(part)
        return nodes(found, found.function(part.function or None))

    parts = {name: partial(read, part) for name, part in bundle.manifest.parts.items()}
    return report(bundle.facts(AppleFacts).compute, parts, tuple(RULES), multiply_adds, ELIGIBLE)

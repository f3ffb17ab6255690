"""The JSON Schema of ``phantom.json``, with the facts of every target."""

from typing import Any

from phantom_edge.bundle.manifest import Manifest
from phantom_edge.export.targets import TARGETS
from phantom_edge.foundation.typed import schema


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a manifest: ``target`` tags the union of ``facts``."""
    found = schema(Manifest, "phantom.json of a phantom-edge bundle")
    cases = []
    for target in TARGETS.values():
        facts: dict[str, Any] = {"type": "object", "maxProperties": 0}
        if target.facts is not None:
            own = schema(target.facts, target.name)
            found["$defs"] |= own["$defs"]
            facts = {"$ref": own["$ref"]}
        cases.append(
            {
                "if": {"properties": {"target": {"const": target.name}}},
                "then": {"properties": {"facts": facts}},
            }
        )
    return {**found, "allOf": cases}

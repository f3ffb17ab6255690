"""Lists the properties of bundle files in Markdown, from their JSON Schemas."""

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "phantom_edge" / "bundle"
DOCUMENTS = {"schema.json": "phantom.json", "schema_proof.json": "proof.json", "schema_golden.json": "golden.json"}
"""Schemas, and the files that they describe."""

SPACES = re.compile(r"\s+")


def properties() -> str:
    """Every object of every file: its description and its properties with type and description."""
    lines: list[str] = []
    shown: set[str] = set()
    for name, file in DOCUMENTS.items():
        if not (FOLDER / name).exists():
            continue
        schema = json.loads((FOLDER / name).read_text(encoding="utf-8"))
        lines += [f"### {file}", ""]
        for key, definition in sorted(schema["$defs"].items(), key=lambda one: one[0] != _name(schema["$ref"])):
            if key not in shown and "properties" in definition:
                shown.add(key)
                lines += _object(key, definition)
    return "\n".join(lines)


def _object(name: str, definition: dict[str, Any]) -> list[str]:
    lines = [f"**{name}.** {_text(definition)}", ""]
    for key, about in definition["properties"].items():
        default = f", by default `{json.dumps(about['default'])}`" if "default" in about else ""
        lines.append(f"- `{key}` ({type_of(about)}{default}): {_text(about)}")
    return [*lines, ""]


def type_of(about: dict[str, Any]) -> str:
    """A property's type in words."""
    if "$ref" in about:
        return _name(about["$ref"])
    if "anyOf" in about:
        return " or ".join(map(type_of, about["anyOf"]))
    if "const" in about:
        return f"`{json.dumps(about['const'])}`"
    if "enum" in about:
        return " or ".join(f"`{json.dumps(one)}`" for one in about["enum"])
    kind = str(about.get("type", "any"))
    if kind == "array":
        return f"list of {type_of(about['items'])}" if "items" in about else "list"
    inside = about.get("additionalProperties")
    return f"object, {type_of(inside)} by name" if isinstance(inside, dict) else kind


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _text(about: dict[str, Any]) -> str:
    """The description on one line, with Markdown's quotes."""
    return SPACES.sub(" ", str(about.get("description", ""))).replace("``", "`")

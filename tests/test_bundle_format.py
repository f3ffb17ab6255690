"""The bundle format describes itself: properties have descriptions, types and units, and the page lists them all."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = sorted((ROOT / "phantom_edge" / "bundle").glob("schema*.json"))
PAGE = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")

UNITS = (
    *("bytes", "byte", "bits", "megabytes", "pixels", "tiles", "tokens", "layers", "heads", "rows", "nodes", "numbers"),
    *("0 to 1", "0 to 255", "decibels", "unit of", "pure number", "whole number", "number of", "count of", "version"),
    *("token id", "token ids", "multiply-adds", "norm", "logit", "positions", "operators", "dimensions"),
)
"""Units, and words for numbers without one."""


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, definition in schema["$defs"].items():
        for key, about in definition.get("properties", {}).items():
            yield f"{name}.{key}", about


def is_typed(about: dict[str, Any]) -> bool:
    return any(key in about for key in ("type", "$ref", "const", "enum")) or (
        "anyOf" in about and all(map(is_typed, about["anyOf"]))
    )


def is_number(about: dict[str, Any]) -> bool:
    """True for a number, and for lists and objects of numbers."""
    inside = [*about.get("anyOf", ()), about.get("items"), about.get("additionalProperties")]
    return about.get("type") in ("integer", "number") or any(isinstance(one, dict) and is_number(one) for one in inside)


def test_there_are_schemas() -> None:
    assert [path.name for path in SCHEMAS][:1] == ["schema.json"]


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_every_property_has_description_type_and_unit(path: Path) -> None:
    found = dict(properties(json.loads(path.read_text())))
    assert len(found) > 3
    assert not [name for name, about in found.items() if len(str(about.get("description", ""))) < 10]
    assert not [name for name, about in found.items() if not is_typed(about)]
    lacking = [
        name
        for name, about in found.items()
        if is_number(about) and not any(unit in about["description"].lower() for unit in UNITS)
    ]
    assert not lacking


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_every_object_has_a_description(path: Path) -> None:
    schema = json.loads(path.read_text())
    assert all(one.get("description") for one in schema["$defs"].values() if "properties" in one)


def test_the_page_has_every_property() -> None:
    for path in SCHEMAS:
        for name, _ in properties(json.loads(path.read_text())):
            assert f"- `{name.partition('.')[2]}` (" in PAGE


def test_the_page_names_every_layout_of_a_cache() -> None:
    prose = PAGE.partition("## Properties")[0].lower()
    cache = json.loads((ROOT / "phantom_edge" / "bundle" / "schema.json").read_text())["$defs"]["Cache"]["properties"]
    for choice in (*cache["layout"]["enum"], *cache["positions"]["enum"]):
        assert choice in prose.replace("\n", " ")


def test_the_page_applies_every_setting_of_generation() -> None:
    prose, schema = PAGE.partition("## Properties")[0], json.loads(SCHEMAS[0].read_text())
    section = prose.partition("### Choosing a token")[2].partition("###")[0]
    named = re.findall(r"`(\w+)`", section)
    wanted = list(schema["$defs"]["Generation"]["properties"])
    assert [name for name in dict.fromkeys(named) if name in wanted] == wanted

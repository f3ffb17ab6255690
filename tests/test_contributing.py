"""CONTRIBUTING's table is true: what it names is there, and each registry holds exactly what lies on disk."""

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from phantom_edge.checkpoint.quantized.algorithm_names import ALGORITHM_NAMES
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.quantize.algorithms import ALGORITHMS

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^\| (an? [^|]+) \| ([^|]+) \| `([A-Z]+)` in `([^`|]+)\.py` \|$", re.MULTILINE)
ROWS = [match.groups() for match in ROW.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))]

BESIDE = {
    "FAMILIES": {"family"},
    "BENCHMARKS": {"entries", "prompts"},
    "DEVICES": {"adb", "app", "phone", "remote", "table", "transports"},
}
"""Files of a registry's folder that are no entry: what entries share."""

ELSEWHERE = {"DEVICES": {"host"}}
"""Entries without a file of their own: this machine needs no way to it."""


def test_every_row_is_read() -> None:
    assert [registry for _, _, registry, _ in ROWS] == [
        "FAMILIES",
        "TARGETS",
        "SCHEMES",
        "ALGORITHMS",
        "BENCHMARKS",
        "DEVICES",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2])
def test_a_row_is_true(row: tuple[str, str, str, str]) -> None:
    _, files, name, module = row
    package = module if module.startswith("phantom_edge/") else f"phantom_edge/{module}"
    registry = getattr(import_module(package.replace("/", ".").removesuffix(".__init__")), name)
    assert isinstance(registry, Mapping) and registry
    assert (ROOT / f"{module}.py").is_file()
    entries = set(registry) - ELSEWHERE.get(name, set())
    for path in re.findall(r"`([\w<>]+/[\w<>/.]+)`", files):
        folder, is_pattern, after = path.partition("<name>")
        assert all((ROOT / path.replace("<name>", entry)).exists() for entry in entries)
        if is_pattern:
            own = (ROOT / folder).glob("*/__init__.py" if after.startswith("/") else f"*{after}")
            found = {one.relative_to(ROOT / folder).parts[0].removesuffix(after) for one in own}
            assert found - {"__init__"} - BESIDE.get(name, set()) == entries


def test_names_are_those_that_entries_have() -> None:
    assert {name: scheme.name for name, scheme in SCHEMES.items()} == {name: name for name in SCHEMES}
    assert set(ALGORITHMS) == set(ALGORITHM_NAMES)

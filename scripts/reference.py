"""Tables of the documentation that come from the code: rules of lint, devices, recipes, and the layers of imports."""

import tomllib
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from phantom_edge.export.lint.engine import Rule
from phantom_edge.export.targets import TARGETS
from phantom_edge.profile.devices.table import Entry, Number, read_table
from phantom_edge.quantize.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]


def blocks() -> dict[str, str]:
    """Markdown by the name of its marks."""
    return {"rules": _all_rules(), "devices": _devices(), "recipes": _recipes(), "layers": _layers()}


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _all_rules() -> str:
    """Rules of every target that has some of its own: in its room's ``lint``, or ``lint.rules``."""
    parts = []
    for name, target in TARGETS.items():
        room = f"phantom_edge.export.targets.{name}.lint"
        found = next((one for one in (f"{room}.rules", room) if _exists(one)), None)
        rules = [] if found is None else getattr(import_module(found), "RULES", [])
        if rules:
            parts.append(f"## {name}: {target.title}\n\n{_rules(rules)}")
    return "\n".join(parts)


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _rules(rules: Sequence[Rule[Any]]) -> str:
    rows = []
    for rule in rules:
        sources = ", ".join(f"[{source.title}]({source.url})" for source in rule.sources)
        note = f" {rule.note[:1].upper()}{rule.note[1:]}." if rule.note else ""
        rows.append((f"`{rule.name}`", rule.severity, f"{rule.what}.{note}", sources))
    return _table(("rule", "if broken", "holds where", "sources"), rows)


def _devices() -> str:
    rows = []
    for name, entry in sorted(read_table().devices.items()):
        memory, bandwidth = (_number(one) for one in (entry.room, entry.bandwidth))
        rows.append((f"`{name}`", entry.label, entry.chip, memory, bandwidth, _rates(entry), ", ".join(entry.targets)))
    columns = ("`--device`", "device", "chip", "memory", "bandwidth", "rates", "targets")
    return _table(columns, rows)


def _number(number: Number | None) -> str:
    if number is None:
        return "unknown"
    text = f"{number.value:g} {number.unit}"
    return f"[{text}]({number.source})" if number.source.startswith("http") else f"{text} ({number.source})"


def _rates(entry: Entry) -> str:
    found = [
        f"{processor} {kind}: {_number(number)}"
        for processor, peaks in entry.peaks.items()
        for kind, number in peaks.items()
    ]
    return ", ".join(found) or "unknown"


def _recipes() -> str:
    rows = []
    for file in sorted((ROOT / "quantize" / "recipes").glob("*.toml")):
        recipe, text = read_recipe(file.stem), file.read_text(encoding="utf-8")
        parts = ", ".join(f"{part} {scheme}" for part, scheme in recipe.parts.items())
        about = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
        rows.append((f"`{file.stem}`", about or "-", parts, str(len(recipe.rules)) if recipe.rules else "-"))
    return _table(("recipe", "about", "parts", "rules"), rows)


def _layers() -> str:
    """The layers that the import contracts keep, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    lines = [line.replace("phantom_edge.", "").replace("|", " ").replace(":", " ") for line in layers]
    lines = ["   ".join(line.split()) for line in lines]
    width = max(map(len, lines))
    edge = f"+{'-' * (width + 2)}+"
    drawn = "\n".join(f"| {line:^{width}} |" for line in lines)
    return f"```text\n{edge}\n{drawn}\n{edge}\n```\n"

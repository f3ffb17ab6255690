"""Every error that the package can raise at a user, and its remedy, from the sources: a page of the site.

    python scripts/errors.py        # prints it; the site has it as Reference, Errors

What a message fills in stands in capitals, by the name that the code gives it. Messages that are put together elsewhere
(a runtime's own words, a reader's) are not listed.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREES = ("phantom_edge", "export", "quantize")
ERRORS = {"EdgeError", "UsageError"}
LEAST_WORDS = 2
"""Words of its own below which a message says nothing without what is filled in."""

PLAIN = ("name", "value", "path", "__name__")
"""Attributes whose owner's name says more than their own."""

HEAD = """# Errors

What a command can refuse, by the part of the package that does, and the way on. Words in capitals are filled in. The
exit code is 2 for what the command line itself refuses, else 1. `scripts/errors.py` makes this page from the sources.
More about the commonest: [when something goes wrong](../troubleshooting.md).
"""


@dataclass(frozen=True)
class Message:
    """A problem, its remedy, and the room that raises it."""

    room: str
    problem: str
    remedy: str


def messages() -> Iterator[Message]:
    """Yields the messages of all modules, in the order of their files."""
    linked = tuple(ROOT / "phantom_edge" / name for name in TREES[1:])  # links to the other two trees
    paths = [path for tree in TREES for path in sorted((ROOT / tree).rglob("*.py"))]
    modules = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in paths
        if not any(path.is_relative_to(link) for link in linked)
    }
    constants = {_dotted(path): _assigned(module.body) for path, module in modules.items()}
    for path, module in modules.items():
        yield from _of(path, module, _imported(module, constants) | _assigned(ast.walk(module)))


def _dotted(path: Path) -> str:
    """The name under which a module is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == TREES[0] else (TREES[0], *parts)).removesuffix(".__init__")


def _imported(module: ast.Module, constants: dict[str, dict[str, ast.expr]]) -> dict[str, ast.expr]:
    """Texts that a module imports from others, by the names that they have here."""
    return {
        name.asname or name.name: constants[one.module][name.name]
        for one in ast.walk(module)
        if isinstance(one, ast.ImportFrom) and one.module in constants
        for name in one.names
        if name.name in constants[one.module]
    }


def _assigned(nodes: Iterable[ast.AST]) -> dict[str, ast.expr]:
    """Texts by the names that they are assigned to."""
    return {
        one.targets[0].id: one.value
        for one in nodes
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and (isinstance(one.value, ast.JoinedStr) or isinstance(getattr(one.value, "value", None), str))
    }


def _of(path: Path, module: ast.Module, texts: dict[str, ast.expr]) -> Iterator[Message]:
    place = path.relative_to(ROOT).parent.parts
    room = "/".join(place[1:3] if place[0] == "phantom_edge" and len(place) > 1 else place[:3])
    for node in ast.walk(module):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS):
            continue
        if len(node.args) == 2:
            problem, remedy = (_text(one, texts) for one in node.args)
            if sum(word.islower() for word in problem.split()) >= LEAST_WORDS:
                yield Message(room, problem, remedy)


def _text(node: ast.expr, texts: dict[str, ast.expr]) -> str:
    """The text of an expression, with names in capitals for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(one, texts) for one in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, texts) + _text(node.right, texts)
    if isinstance(node, ast.IfExp):
        return _text(node.body, texts)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, texts)
    if isinstance(node, ast.Name) and node.id in texts:
        rest = {name: text for name, text in texts.items() if name != node.id}
        return _text(texts[node.id], rest)
    return _name(node)


def _name(node: ast.expr) -> str:
    """The last name of an expression: of ``path.name`` PATH, of ``", ".join(names)`` NAMES."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return node.id.strip("_").upper()
    if isinstance(node, ast.Attribute):
        return _name(node.value) if node.attr in PLAIN else node.attr.upper()
    if isinstance(node, ast.Call) and node.args:
        return _name(node.args[0])
    if isinstance(node, ast.Call | ast.Subscript | ast.Await | ast.Starred):
        return _name(node.func if isinstance(node, ast.Call) else node.value)
    return "..."


def page() -> str:
    """Returns the page."""
    rooms: dict[str, dict[Message, None]] = {}
    for one in messages():
        rooms.setdefault(one.room, {})[one] = None
    parts = [HEAD]
    for room, found in sorted(rooms.items()):
        rows = (f"| {_cell(one.problem)} | {_cell(one.remedy)} |" for one in found)
        parts.append("\n".join((f"## {room}\n", "| problem | remedy |", "| --- | --- |", *rows)) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    """A message as code, which no Markdown in it can break."""
    return f"`` {' '.join(text.split())} ``".replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")

"""Figures of the structure: packages that import each other, files that know a target's name, lines, longest pieces.

    python scripts/structure.py [FOLDER]     # of another checkout: what stood there before

Packages are those below ``phantom_edge`` down to the rooms of targets; imports inside functions count, those for types
alone do not.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

TARGETS = ("onnx", "coreml", "coreai", "executorch", "jetson", "qnn", "web", "litert")
FOLDERS = {"phantom_edge": "phantom_edge", "export": "phantom_edge.export", "quantize": "phantom_edge.quantize"}
"""Folders of the product, and the packages that they are."""


@dataclass(frozen=True)
class Module:
    """A module of the product: its dotted name, its file and its tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return len(self.path.read_text(encoding="utf-8").splitlines())


def modules(root: Path) -> list[Module]:
    """Every module of the product."""
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            if folder == "phantom_edge" and path.relative_to(root).parts[1] in ("export", "quantize"):
                continue  # links to the other folders
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found.append(Module(name, path, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def imports(module: Module, known: set[str]) -> Iterator[str]:
    """Modules of the product that a module imports."""
    for node in _without_type_checking(module.tree):
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{one.name}" for one in node.names]
            names = [name if name in known else node.module for name in full]
        else:
            continue
        yield from (name for name in names if name in known)


def _without_type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _without_type_checking(node)


def package(name: str) -> str:
    """The room that a module belongs to: a package below phantom_edge, and below its export and targets, too."""
    parts = name.split(".")[1:]
    depth = 3 if parts[:2] == ["export", "targets"] else 2 if parts[:1] == ["export"] else 1
    return ".".join(parts[:depth])


def mutual(found: list[Module]) -> list[tuple[str, str]]:
    """Pairs of rooms that import each other."""
    known = {module.name for module in found}
    edges = {
        (package(module.name), package(other))
        for module in found
        for other in imports(module, known)
        if "." in module.name and "." in other
    }
    rooms = sorted({one for edge in edges for one in edge})
    return [(a, b) for a, b in combinations(rooms, 2) if (a, b) in edges and (b, a) in edges]


def names_in(module: Module, target: str) -> list[str]:
    """Literals of a module that hold a target's name as a word of its own; docstrings do not count."""
    pattern = re.compile(rf"(?<![\w./-]){target}(?![\w./-])")
    docstrings = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        if pattern.search(node.value)
    ]


def is_at_home(module: Module, target: str) -> bool:
    """True for modules that may know a target's name: those of its own room, and the registry."""
    room = f"phantom_edge.export.targets.{target}"
    return module.name == "phantom_edge.export.targets" or module.name == room or module.name.startswith(f"{room}.")


def strangers(found: list[Module], target: str) -> list[Module]:
    """Modules that know a target's name and are not at home."""
    return [one for one in found if names_in(one, target) and not is_at_home(one, target)]


def functions(found: list[Module]) -> list[tuple[int, str]]:
    """Lines and names of all functions, without decorators and parameters; the longest first."""
    sizes = [
        ((node.end_lineno or 0) - node.body[0].lineno + 1, f"{module.name}.{node.name}")
        for module in found
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sorted(sizes, reverse=True)


def main() -> None:
    """Print the figures."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    found = modules(root)
    sizes = sorted(((one.lines, str(one.path.relative_to(root))) for one in found), reverse=True)
    pairs, longest = mutual(found), functions(found)
    known = Counter({target: len(strangers(found, target)) for target in TARGETS})
    print(f"pairs of packages that import each other: {len(pairs)} {', '.join(' and '.join(pair) for pair in pairs)}")
    print(f"files outside its own that know a target's name: {', '.join(f'{name} {n}' for name, n in known.items())}")
    print(f"product: {sum(size for size, _ in sizes):,} lines in {len(sizes)} files")
    print(f"longest files: {', '.join(f'{name} {size}' for size, name in sizes[:5])}")
    print(f"files over 300 lines: {sum(size > 300 for size, _ in sizes)}")
    print(f"longest functions: {', '.join(f'{name} {size}' for size, name in longest[:5])}")
    print(f"functions over 80 lines: {sum(size > 80 for size, _ in longest)}")


if __name__ == "__main__":
    main()

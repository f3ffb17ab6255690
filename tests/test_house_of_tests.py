"""The order of the tests' own files: no test imports another, and each module of tests/support serves some test."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
SUPPORT = TESTS / "support"


def imports(file: Path) -> set[str]:
    """The top-level names of the modules that a file imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_no_test_imports_another() -> None:
    """What several tests need lies in tests/support, named after what it holds."""
    importing = {
        file.name: names
        for file in (*TESTS.glob("*.py"), *SUPPORT.glob("*.py"))
        if (names := {name for name in imports(file) if name.startswith("test_")})
    }
    assert not importing


def test_beside_the_tests_lies_nothing_else() -> None:
    assert {file.name for file in TESTS.glob("*.py") if not file.name.startswith("test_")} == {"conftest.py"}


def test_each_module_of_support_serves_a_test() -> None:
    """A test or conftest.py imports it, or a module of support that serves one."""
    files = {file.stem: file for file in SUPPORT.glob("*.py")}
    used: set[str] = set()
    found = set().union(*(imports(file) for file in (*TESTS.glob("*.py"), *SUPPORT.glob("standalone_*.py"))))
    while more := (found & files.keys()) - used:
        used |= more
        found = set().union(*(imports(files[name]) for name in more))
    assert files.keys() == used

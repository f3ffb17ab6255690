"""The page of errors is whole, and the walk through the README finds its commands."""

import ast
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import typer

from phantom_edge.cli.main import app

ROOT = Path(__file__).resolve().parents[1]


def script(name: str) -> dict[str, Any]:
    """The names of a script."""
    return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))


def raised() -> int:
    """Number of errors with a text of their own that the sources raise."""
    found = 0
    for tree in ("phantom_edge", "export", "quantize"):
        for path in (ROOT / tree).rglob("*.py"):
            if any(part.is_symlink() for part in path.parents):
                continue
            calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
            found += sum(
                isinstance(call.func, ast.Name)
                and call.func.id in ("EdgeError", "UsageError")
                and len(call.args) == 2
                and isinstance(call.args[0], ast.Constant | ast.JoinedStr)
                for call in calls
            )
    return found


def test_every_error_has_its_line() -> None:
    """But for those that say little without what they fill in."""
    found = list(script("errors")["messages"]())
    assert len(found) >= 0.9 * raised() > 400
    nameless = [one for one in found if re.fullmatch(r"[A-Z_.]*", one.remedy)]
    assert len(nameless) < 0.05 * len(found), nameless
    known = {(one.problem, one.remedy) for one in found}
    assert any("is a pointer of Git LFS" in problem and "lfs pull" in remedy for problem, remedy in known)
    assert any(problem == "there is no folder MODEL" for problem, _ in known)


FOREIGN = {"--force-reinstall", "--aar", "--cpu", "--use_fsdp", "--dumpProfile"}
"""Flags of pip, scripts/apk.py, accelerate and trtexec that messages name."""


def words_of(command: Any, words: tuple[str, ...] = ()) -> tuple[set[str], set[str]]:
    """The commands below a command, itself included, and the flags of them all."""
    verbs = {" ".join(words)}
    flags = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")}
    for name, inner in getattr(command, "commands", {}).items():
        more = words_of(inner, (*words, name))
        verbs, flags = verbs | more[0], flags | more[1]
    return verbs, flags


def test_errors_name_flags_and_commands_that_exist() -> None:
    verbs, flags = words_of(typer.main.get_command(app))
    assert {"export", "data scenes"} <= verbs and {"--target", "--no-verify", "--chip"} <= flags
    for one in script("errors")["messages"]():
        text = f"{one.problem}; {one.remedy}"
        unknown = set(re.findall(r"--[a-zA-Z][\w-]*", text)) - flags - FOREIGN - {"--help"}
        assert not unknown, (unknown, text)
        for verb in re.findall(r"run: phantom-edge ([a-z]+)|: phantom-edge ([a-z]+) ", text):
            assert "".join(verb) in verbs, text


@pytest.mark.parametrize(
    ("section", "language", "first", "last"),
    [
        ("Install", "text", "python3 -m venv env", "pip install -c constraints.txt '.[export]'"),
        ("Sixty seconds", "sh", "phantom-edge run", "phantom-edge verify"),
    ],
)
def test_the_walk_reads_the_readme(section: str, language: str, first: str, last: str) -> None:
    lines = script("walk")["lines"](section, language)
    assert lines[0].startswith(first) and lines[-1].startswith(last)
    assert not [line for line in lines if "#" in line]
    assert f"`{script('walk')['PAGE']}`" in (ROOT / "README.md").read_text(encoding="utf-8")

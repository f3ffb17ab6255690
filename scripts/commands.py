"""Writes docs/commands.md: the help of every command, and the screens of those that need no model, at 80 columns.

python scripts/commands.py            # --check: fail where the page differs
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH = 80
os.environ |= {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1"}  # before rich is imported

import typer  # noqa: E402
from checking import is_check  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from phantom_edge.cli.main import app  # noqa: E402

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
SCREENS = (
    ("models",),
    ("plan", "--devices"),
    ("plan", "0.5b", "--device", "galaxy-s24", "--ttft", "2s", "--memory", "2GB"),
    ("plan", "0.5b", "--device", "pixel-9", "--ttft", "1s"),
    ("export", "nano", "--target", "onxn"),
)
"""Commands that print the same on every machine."""

HEAD = f"""# Commands

Every command's help, and some screens, on a terminal of {WIDTH} columns. `scripts/commands.py` writes this page.
A table that is too wide for the terminal is turned on its side; in a pipe, tables have 200 columns, or as many as
`COLUMNS` says. Results go to stdout, all else to stderr. Exit codes: 0; 1, which you can mend, and the message ends in
how; 2, what the command line itself refuses; 130, Ctrl-C.
"""


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yields the words of every command, its groups first."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


def screen(words: tuple[str, ...]) -> str:
    """Returns what a command prints, stderr included, in a block of Markdown."""
    ran = CliRunner().invoke(app, list(words), prog_name="phantom-edge")
    lines = [line.rstrip() for line in ran.output.strip("\n").splitlines()]
    return "\n".join(["```text", f"$ {' '.join(('phantom-edge', *words))}", *lines, "```"])


def page() -> str:
    """Returns the page."""
    parts = [HEAD]
    for words in commands(typer.main.get_command(app)):
        parts += [f"## {' '.join(('phantom-edge', *words))}\n", screen((*words, "--help")) + "\n"]
    parts.append("## Screens\n")
    parts += [screen(words) + "\n" for words in SCREENS]
    return "\n".join(parts)


def main() -> None:
    """Writes the page, or compares it."""
    check, text = is_check(__doc__), page()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE.name} is out of date; run: python scripts/commands.py")


if __name__ == "__main__":
    main()

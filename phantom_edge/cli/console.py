"""Output of the command line: results on stdout, everything else on stderr."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape

from phantom_edge.cli.table import tables
from phantom_edge.foundation.errors import EdgeError

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

P = ParamSpec("P")

UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing them: control characters, and turns of writing direction."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

WIDE = 200
"""Width of tables in piped output, characters."""

out = Console()
err = Console(stderr=True)


def visible(text: str, obeyed: str = "") -> str:
    """``text`` with unseen characters written as escapes, but for those in ``obeyed``.

    Answers, file names, manifests and devices' lines are words of others: none may move the cursor or forge a line.
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in obeyed else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    return repr(character)[1:-1] if ord(character) < 256 else f"\\u{ord(character):04x}"


def print_json(document: Any) -> None:
    """Print the one document of ``--json``."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # the terminal's encoding lacks these letters, or half a letter: JSON escapes them
        text = json.dumps(document, indent=2)
    sys.stdout.write(UNSEEN.sub(lambda found: _in_json(found[0]), text) + "\n")


def _in_json(character: str) -> str:
    return character if character == "\n" else f"\\u{ord(character):04x}"  # JSON itself escapes the others below 32


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str | None = None) -> None:
    """Print a table with units in its column heads; numbers to the right.

    Piped output has no width of its own, and a table cut at a guess is worse than a long line: it gets the width that
    COLUMNS names, or a generous one.
    """
    console = Console(width=None if out.is_terminal or os.environ.get("COLUMNS") else WIDE)
    for line in wrapped(visible(title), console.width):
        console.print(escape(line), style="bold", highlight=False, soft_wrap=True)
    for table in tables(
        [visible(column, "\n") for column in columns],
        [[visible(cell, "\n") for cell in row] for row in rows],
        console.width,
    ):
        console.print(table)
    for line in wrapped(visible(note or "", "\n"), console.width):
        console.print(escape(line), style="dim italic", highlight=False, soft_wrap=True)


def megabytes(size: int) -> str:
    """Formats bytes as MB; a small file does not read as an empty one."""
    return "<0.01" if 0 < size < 5_000 else f"{size / 1e6:,.2f}"


def note(message: str) -> None:
    """Print a line on stderr; on a terminal, and where COLUMNS gives a width, wrapped between words."""
    for line in wrapped(visible(message), _width()) or [""]:
        err.print(line, highlight=False, markup=False, soft_wrap=True)


PASTED = re.compile(r"(?<![\w/.-])(?:phantom-edge|pip|python3?) [a-z-].*?(?:[,;.)] |$)")
"""A command to paste, to the text's end or to a mark and a blank."""


def wrapped(text: str, width: int | None) -> list[str]:
    """Lines of at most ``width`` characters, broken between words; a command to paste stays whole, however long.

    Without a width: the text's own lines.
    """
    lines: list[str] = []
    for line in text.splitlines():
        if width is None or cell_len(line) <= width:
            lines.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        first, *rest = _unbroken(line) or [""]
        held = indent + first
        for piece in rest:
            if cell_len(f"{held} {piece}") > width:
                lines.append(held)
                held = piece
            else:
                held += f" {piece}"
        lines.append(held)
    return lines


def _unbroken(line: str) -> list[str]:
    """Words of a line, and commands to paste."""
    pieces, at = list[str](), 0
    for found in PASTED.finditer(line):
        pieces += [*line[at : found.start()].split(), found[0].rstrip()]
        at = found.end()
    return [*pieces, *line[at:].split()]


def _width() -> int | None:
    """Width that COLUMNS or the terminal gives; None in a pipe."""
    named = os.environ.get("COLUMNS", "")
    if named.isdecimal() and int(named) > 0:
        return int(named)
    return err.width if err.is_terminal else None


def stopped(rest: str) -> NoReturn:
    """Print what Ctrl-C, which the terminal shows first, left behind, and end."""
    err.print()
    note(f"stopped; {rest}")
    raise typer.Exit(INTERRUPTED) from None


def friendly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn a user's mistake into one clear line and exit code 1 or 2, and Ctrl-C into one and exit code 130.

    The line is plain text on stderr with ``--json`` too: stdout holds one document or nothing.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            _check_encoding(kwargs)
            command(*args, **kwargs)
        except EdgeError as error:
            _show_error(error)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            stopped("nothing half-written was left behind. Run the same command to start again.")

    return wrapped


def _show_error(error: EdgeError) -> None:
    """Print the problem, and below it the remedy, set in by two blanks."""
    first, *rest = wrapped(visible(f"error: {error.problem}"), _width())
    err.print(f"[bold red]error:[/]{escape(first.removeprefix('error:'))}", highlight=False, soft_wrap=True)
    width = _width()
    for line in [*rest, *(f"  {line}" for line in wrapped(visible(error.remedy), width and width - 2))]:
        err.print(line, highlight=False, markup=False, soft_wrap=True)


def _check_encoding(arguments: dict[str, Any]) -> None:
    """Raises EdgeError for an argument that is not UTF-8: neither tokenizers nor safetensors take it."""
    for argument in arguments.values():
        for value in argument if isinstance(argument, list) else [argument]:
            if isinstance(value, str | Path) and not _is_text(str(value)):
                raise EdgeError(
                    f"an argument is not UTF-8: {str(value)!r}",
                    "write it in UTF-8, rename the file, or pipe the picture in with --image -",
                )


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(text: str) -> str:
    """Escape rich's markup, and what a terminal would obey."""
    return escape(visible(text))


def load_torch() -> None:
    """Import the model's packages, with a note. Raises EdgeError where one is not installed."""
    from phantom_edge.models import packages

    packages.load_torch(note)


def display(*columns: "str | ProgressColumn", shown: bool = True) -> "Progress":
    """Rich's progress on stderr, shown on a terminal only. Without columns: rich's own."""
    from rich.progress import Progress

    return Progress(*columns, console=err, transient=True, disable=not (shown and err.is_terminal))


def counting() -> "Progress":
    """A bar that counts items: done / total."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return display(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@contextmanager
def tasks() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Bars on stderr, as a progress factory: ``(task, total) -> advance(n)``.

    A task of one step has no measurable progress: its bar pulses beside the elapsed time.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with display(*columns) as bars:

        def begin(label: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(_plain(label), total=None if total == 1 else total)
            if total == 1:
                return lambda step: bars.update(task, total=1, completed=step)
            return lambda step: bars.advance(task, step)

        yield begin


@contextmanager
def progress(label: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """A bar of bytes on stderr, as a progress factory: ``(total) -> advance(n)``."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with display(*columns) as bars:

        def begin(total: int) -> Callable[[int], None]:
            task = bars.add_task(_plain(label), total=total)
            return lambda step: bars.advance(task, step)

        yield begin


JSON_HELP = "Print one JSON document instead of a table."
JsonOption = typer.Option("--json", help=JSON_HELP)


def out_option(help: str) -> Any:
    """``--out`` with its short form, which every command that writes has."""
    return typer.Option("--out", "-o", help=help)


OutArgument = typer.Argument(metavar="OUT", hidden=True)
"""The place of ``--out`` in earlier releases."""


def destination(out: Path | None, place: Path | None) -> Path:
    """Returns ``--out``, or the argument in its place. Ends with the usage where neither or both are given."""
    if (out is None) == (place is None):
        raise typer.BadParameter("give it once, as --out PATH", param_hint="'--out' / '-o'")
    found = place if out is None else out
    assert found is not None
    return found


def force_option(what: str) -> Any:
    """``--force`` of a command that writes a folder; ``what`` it replaces."""
    return typer.Option(
        "--force", help=f"Replace {what} at --out; a folder that holds anything else is refused all the same."
    )

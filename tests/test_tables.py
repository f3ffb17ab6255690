"""Tables on terminals: no number is broken, no line is too long, and nothing is left out, whatever the width."""

import io
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from phantom_edge.cli.table import LONGEST, tables

NUMBERS = st.integers(0, 10**12).map("{:,}".format) | st.floats(0, 1e6).map("{:,.2f}".format) | st.just("-")
WORDS = st.text("abcdefgh", min_size=1, max_size=LONGEST - 1)
CELLS = NUMBERS | st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@st.composite
def contents(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    width = draw(st.integers(1, 12))
    heads = draw(st.lists(st.lists(WORDS, max_size=3).map(" ".join), min_size=width, max_size=width))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=0, max_size=9))
    return heads, rows


def printed(columns: list[str], rows: list[list[str]], width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    for table in tables(columns, rows, width):
        console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@given(contents(), st.integers(60, 200))
def test_every_word_is_whole_at_every_width(made: tuple[list[str], list[list[str]]], width: int) -> None:
    columns, rows = made
    text = printed(columns, rows, width)
    assert all(len(line) <= width for line in text.splitlines())
    shown = re.split(r"[\s│┃]+", text)
    for cell in [*(columns if rows else []), *(cell for row in rows for cell in row)]:
        for word in cell.split():
            assert word in shown, (word, text)


@given(contents())
def test_what_fits_stands_upright(made: tuple[list[str], list[list[str]]]) -> None:
    """On a very wide terminal there is one table, and a row is a line."""
    columns, rows = made
    assert len(list(tables(columns, rows, 2000))) == 1
    assert sum(line.startswith("│") for line in printed(columns, rows, 2000).splitlines()) == len(rows)


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    text = printed(["name", "MB", "state"], [["a", "1.5", "ok"], ["b", "-", "unknown"], ["c", "1,234.5", "x y"]], 80)
    assert "│ a    │     1.5 │ ok      │" in text and "│ c    │ 1,234.5 │ x y     │" in text


def test_markup_and_brackets_are_letters() -> None:
    assert "[red]x[/red]" in printed(["[bold]"], [["[red]x[/red]"]], 80)

"""Tables that fit the terminal: cells wrap between words, and a table too wide even so is turned on its side."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

FRAME = 3
"""Characters beside each cell: a line and two blanks. One more line ends the table."""

LONGEST = 24
"""Words longer than this, such as paths and fingerprints, may be folded. No number is so long."""

WEIGHED = 200
"""Rows by which widths are chosen."""

NUMBER = re.compile(r"[-+<]?\.?\d")
NO_NUMBER = ("", "-", "unknown", "inf", "nan")

Rows = Sequence[Sequence[str]]


def tables(columns: Sequence[str], rows: Rows, width: int) -> Iterator[Table]:
    """Yields the table, or, where its columns do not fit, tables whose columns are as many of the rows as fit."""
    if not rows or _fits(columns, rows, width):
        yield _table(columns, rows, width)
        return
    done = 0
    while done < len(rows):
        taken = 1
        while done + taken < len(rows) and _fits(*_turned(columns, rows[done : done + taken + 1]), width):
            taken += 1
        yield _table(*_turned(columns, rows[done : done + taken]), width)
        done += taken


def _turned(columns: Sequence[str], rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Rows as columns: the first cell of each is its head."""
    lines = [[name, *(row[place] for row in rows)] for place, name in enumerate(columns)]
    return lines[0], lines[1:]


def _fits(columns: Sequence[str], rows: Rows, width: int) -> bool:
    return sum(map(_least, _cells(columns, rows))) + FRAME * len(columns) + 1 <= width


def _cells(columns: Sequence[str], rows: Rows) -> list[list[str]]:
    """The cells of each column, its head first."""
    return [[name, *(row[place] for row in rows)] for place, name in enumerate(columns)]


def _least(cells: Sequence[str]) -> int:
    """Width of the longest word that is not folded."""
    return max(min(cell_len(word), LONGEST) for cell in cells for word in [*cell.split(), ""])


def _widest(cells: Sequence[str]) -> int:
    return max(cell_len(line) for cell in cells for line in [*cell.splitlines(), ""])


def _widths(columns: Sequence[str], rows: Rows, width: int) -> list[int]:
    """Widths of the columns: those give way whose cells then take fewest lines, the widest first.

    None gives way below its longest word as long as there is room.
    """
    cells = _cells(columns, rows)
    room = width - FRAME * len(columns) - 1
    widths, least = [min(_widest(one), max(room, 1)) for one in cells], list(map(_least, cells))
    heights = [lru_cache(None)(partial(_heights, one[:WEIGHED])) for one in cells]
    while sum(widths) > room:
        loose = [place for place in range(len(widths)) if widths[place] > least[place]]
        if not loose:
            return _squeezed(widths, room)

        def lines(narrowed: int) -> int:
            tall = (heights[place](wide - (place == narrowed)) for place, wide in enumerate(widths))
            return sum(map(max, zip(*tall, strict=True)))

        widths[min(loose, key=lambda place: (lines(place), -widths[place]))] -= 1
    return widths


def _heights(cells: Sequence[str], width: int) -> list[int]:
    """Lines that each cell takes."""
    return [sum(_lines(line, width) for line in cell.splitlines() or [""]) for cell in cells]


def _lines(text: str, width: int) -> int:
    """Lines of a text that is broken between words."""
    lines, taken = 1, 0
    for size in map(cell_len, text.split()):
        if taken and taken + 1 + size > width:
            lines, taken = lines + 1, 0
        taken += size + (taken > 0)
    return lines


def _squeezed(widths: list[int], room: int) -> list[int]:
    """Widths on a terminal so narrow that words are folded."""
    while sum(widths) > max(room, len(widths)):
        widths[widths.index(max(widths))] -= 1
    return widths


def _table(columns: Sequence[str], rows: Rows, width: int) -> Table:
    table = Table()
    widths = _widths(columns, rows, width)
    for place, (name, *cells) in enumerate(_cells(columns, rows)):
        justify = "right" if place and all(map(_is_number, cells)) else "left"
        table.add_column(escape(name), justify=justify, overflow="fold", width=widths[place])  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _is_number(cell: str) -> bool:
    return cell in NO_NUMBER or NUMBER.match(cell) is not None

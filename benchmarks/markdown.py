"""Tables in Markdown."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
Columns = Mapping[str, str | Callable[[Any], str]]
"""By heading: a format of the row's values, such as ``{megabytes:,} MB``, or a function of the row."""


def lines(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; all columns but the first are numbers, to the right."""
    head = list(columns)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---", *("---:" for _ in head[1:])], *rows))


def table(columns: Columns, rows: Iterable[Row]) -> str:
    """A line for each row."""
    filled = [[cell(row) if callable(cell) else cell.format_map(row) for cell in columns.values()] for row in rows]
    return lines(columns, filled)


def named(rows: Mapping[str, Row]) -> list[dict[str, Any]]:
    """Rows that are stored by their name."""
    return [{"name": name, **row} for name, row in rows.items()]


def span(numbers: list[Any]) -> str:
    """Their first and their last, or the only one."""
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

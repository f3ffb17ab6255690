"""Tables that scripts write between marks in Markdown files."""

import re
from collections.abc import Mapping, Sequence


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, numbers to the right."""
    ruler = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, ruler, *rows))


def filled(text: str, blocks: Mapping[str, str]) -> str:
    """``text`` with what stands between ``<!-- NAME -->`` and ``<!-- end NAME -->`` made anew."""
    for name, block in blocks.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n?<!-- end {name} -->)", re.DOTALL)
        assert pattern.search(text), f"there is no block {name}"
        text = pattern.sub(lambda found, block=block: f"{found[1]}{block}\n{found[2].lstrip()}", text)
    return text

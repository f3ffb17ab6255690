"""Placeholders for the parts of a screen that differ from run to run, and the comparison of two such screens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

PLACEHOLDER = "#"

NUMBER = re.compile(r"[-+<]?[\d.,]*\d%?(?:e[-+]?\d+)?")
HIDDEN = re.compile(rf"[-+<]?[.,]*{PLACEHOLDER}[{PLACEHOLDER}.,%]*(?:e[-+]?{PLACEHOLDER}+)?")
COMMAND = "phantom-edge "


@dataclass(frozen=True)
class Varying:
    """Parts of a screen that differ: columns of tables by their heads, and regular expressions of texts.

    Of ``numbers`` and ``texts`` the digits are hidden, of ``words`` and of a text's first group every letter. Columns
    of ``orders`` are shown as they are: their rows may come in another order, or be others.
    """

    numbers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    orders: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """Some lines of a screen: a table, whose columns lie between ``edges``, or text, which has none."""

    lines: tuple[str, ...]
    edges: tuple[int, ...] = ()

    def columns(self) -> Iterator[tuple[str, slice, list[str]]]:
        """Yields head, place in a line, and the words of each column of a table."""
        for before, after in pairwise(self.edges):
            place = slice(before + 1, after)
            heads = [line[place].strip() for line in self.lines if line[0] == "┃"]
            body = [word for line in self.lines if line[0] == "│" for word in line[place].split()]
            yield " ".join(filter(None, heads)), place, body


def blocks(screen: str) -> Iterator[Block]:
    """Yields the tables of a screen, and the texts between them."""
    held: list[str] = []
    edges: tuple[int, ...] = ()
    for line in screen.splitlines():
        if line.startswith("┏"):
            if held:
                yield Block(tuple(held))
            held, edges = [], tuple(place for place, letter in enumerate(line) if letter in "┏┳┓")
        held.append(line)
        if line.startswith("└"):
            yield Block(tuple(held), edges)
            held, edges = [], ()
    if held:
        yield Block(tuple(held), edges)


def hidden(screen: str, varying: Varying) -> str:
    """The screen with placeholders as wide as what they hide."""
    lines = []
    for block in blocks(screen):
        if block.edges:
            lines += _hidden_cells(block, varying)
        else:  # as one text, since what is hidden may be broken between lines
            lines += _hidden_texts("\n".join(block.lines), varying).splitlines()
    return "\n".join(lines)


def _digits(text: str) -> str:
    return re.sub(r"\d", PLACEHOLDER, text)


def _hidden_texts(text: str, varying: Varying) -> str:
    for pattern in varying.texts:
        text = re.sub(pattern.replace(" ", r"\s"), _hidden_text, text, flags=re.DOTALL)
    return text


def _hidden_text(found: re.Match[str]) -> str:
    if not found.groups() or found[1] is None:
        return _digits(found[0])
    begin, end = (place - found.start() for place in found.span(1))
    return found[0][:begin] + re.sub(r"\S", PLACEHOLDER, found[1]) + found[0][end:]


def _hidden_cells(block: Block, varying: Varying) -> list[str]:
    lines = [_hidden_texts(line, varying) for line in block.lines]
    for head, place, _ in block.columns():
        for number, line in enumerate(lines):
            if line[0] != "│":
                continue
            cell = line[place]
            if head in varying.numbers:
                cell = NUMBER.sub(lambda found: _digits(found[0]), cell)
            elif head in varying.words:
                cell = re.sub(r"\S", PLACEHOLDER, cell)
            lines[number] = line[: place.start] + cell + line[place.stop :]
    return lines


def compared(screen: str, varying: Varying) -> list[str]:
    """Lines by which two screens are compared: each column of a table is one, and so is each text between tables.

    Where nothing is hidden, these are the screen's own lines, blanks and frames included.
    """
    if varying == Varying():
        return screen.splitlines()
    found = []
    for block in blocks(hidden(screen, varying)):
        if not block.edges:
            found.append(_squeezed(" ".join(" ".join(block.lines).split())))
        columns = [(head, words) for head, _, words in block.columns()]
        is_loose = any(head in varying.orders for head, _ in columns)  # then there may be more rows, or fewer
        for head, words in columns:
            is_free = head in (*varying.words, *varying.orders)
            rest = "" if is_free else _squeezed(" ".join(words))
            found.append(f"{head}: {' '.join(dict.fromkeys(rest.split())) if is_loose else rest}".rstrip())
    return found


def _squeezed(text: str) -> str:
    """Every number that is hidden as one placeholder, however wide."""
    return HIDDEN.sub(PLACEHOLDER, text)


def faults(screen: str, width: int) -> list[str]:
    """Lines wider than ``width``, but for commands to paste, and lines of tables out of line with the frame."""
    wide = [line for line in screen.splitlines() if len(line) > width and COMMAND not in line]
    return wide + [line for block in blocks(screen) for line in _crooked(block.lines, block.edges)]


def _crooked(lines: Sequence[str], edges: tuple[int, ...]) -> list[str]:
    """Lines of a table whose own edges lie elsewhere than the first line's."""
    if not edges:
        return [line for line in lines if line[:1] in tuple("┃│┡└")]
    marks = {"┏": "┏┳┓", "┃": "┃", "┡": "┡╇┩", "│": "│", "└": "└┴┘"}
    return [
        line
        for line in lines
        if line[:1] not in marks
        or len(line) != edges[-1] + 1
        or any(line[place] not in marks[line[0]] for place in edges)
    ]

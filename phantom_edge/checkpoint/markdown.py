"""Paragraphs of Markdown as one line of plain text."""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence

MOST_SOURCE, MOST_TEXT = 8192, 1000
"""Length of a paragraph that is read, and of the text that is kept, characters."""

HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*)")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+|\s*>\s?")
BOLD_LINE = re.compile(r"\s*(\*\*|__)[^*_]+\1:?\s*")
RULE = re.compile(r"\s*([-*_])(?:\s*\1){2,}\s*")
TABLE = re.compile(r"\s*\|")
IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()]*\)")
LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
TAG = re.compile(r"</?[A-Za-z][^<>]*>")
MARKS = re.compile(r"\*+|`+|~~|(?<!\w)_+|_+(?!\w)")
ENDS = (":", ".", ";", ",")
BLANK = "more information needed"
"""Text of the hub's template where nothing was filled in."""


def first_paragraph(text: str, titles: Sequence[str]) -> str | None:
    """The first paragraph of the section whose title comes first in ``titles``, which are in lower case.

    Titles that only begin with one of them come after all equal ones. None where no such section says anything.
    """
    sections = _sections(text)
    for is_whole in (True, False):
        for wanted in titles:
            for place, (_, title, _) in enumerate(sections):
                if title == wanted if is_whole else re.match(rf"{re.escape(wanted)}\b", title):
                    found = _said(sections, place)
                    if found:
                        return found
    return None


def plain(text: str) -> str:
    """Markdown without its marks, on one line; longer text is cut."""
    text = LINK.sub(r"\1", IMAGE.sub("", text[:MOST_SOURCE]))
    text = html.unescape(MARKS.sub("", TAG.sub("", text)))
    text = "".join(" " if one.isspace() else one for one in text if one.isspace() or _is_printed(one))
    text = " ".join(text.split())
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1].rpartition(' ')[0] or text[: MOST_TEXT - 1]}…"


def _is_printed(one: str) -> bool:
    """False for controls, and for marks that turn the direction of text."""
    return unicodedata.category(one)[0] != "C"


def _sections(text: str) -> list[tuple[int, str, list[str]]]:
    """Level, title and lines of each section, without comments and blocks of code. The first has level 0."""
    found: list[tuple[int, str, list[str]]] = [(0, "", [])]
    for line in _lines(text):
        heading = HEADING.fullmatch(line)
        lines = found[-1][2]
        if heading is not None:
            found.append((len(heading[1]), _title(heading[2]), []))
        elif UNDERLINE.fullmatch(line) and lines and lines[-1].strip() and not ITEM.match(lines[-1]):
            found.append((1 if "=" in line else 2, _title(lines.pop()), []))
        else:
            lines.append(line)
    return found


def _lines(text: str) -> Iterator[str]:
    """Lines outside of comments and blocks of code; instead of a block comes an empty one."""
    fence = ""
    for line in _uncommented(text).splitlines():
        mark = FENCE.match(line)
        if fence:
            if mark is not None and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif mark is not None:
            fence = mark[1]
            yield ""
        else:
            yield line


def _uncommented(text: str) -> str:
    parts, start = [], 0
    while (begin := text.find("<!--", start)) >= 0 and (end := text.find("-->", begin + 4)) >= 0:
        parts.append(text[start:begin])
        start = end + 3
    return "".join([*parts, text[start:]])


def _title(text: str) -> str:
    """A title without marks, numbers and signs around it, in lower case."""
    return plain(text.strip().rstrip("#")).strip(" :.#0123456789").lower().lstrip("*•- ")


def _said(sections: Sequence[tuple[int, str, list[str]]], place: int) -> str | None:
    """The first paragraph of the section at ``place``, or of those inside it."""
    for number in range(place, len(sections)):
        level, _, lines = sections[number]
        if number > place and level <= sections[place][0]:
            return None
        begun = ""
        for paragraph in _paragraphs(lines):
            begun = f"{begun} {paragraph}".strip()
            found = plain(begun)
            if BLANK in found.lower() or not found:
                begun = ""
            elif not found.endswith(":"):  # a list follows
                return found
        if begun:
            return plain(begun)
    return None


def _paragraphs(lines: Sequence[str]) -> Iterator[str]:
    """Paragraphs; the items of a list are joined by semicolons. Tables, rules and bold titles are left out."""
    parts: list[str] = []
    for line in [*lines, ""]:
        if line.strip() and not (RULE.fullmatch(line) or TABLE.match(line) or BOLD_LINE.fullmatch(line)):
            item = ITEM.match(line)
            text = line if item is None else line[item.end() :]
            if parts and item is not None and item[0].strip() != ">" and not parts[-1].rstrip().endswith(ENDS):
                parts[-1] = f"{parts[-1].rstrip()};"
            parts.append(text)
        elif parts:
            yield " ".join(parts)
            parts = []

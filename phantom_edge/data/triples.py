"""Triples of a question, a right answer and wrong ones: one JSON object a line, pictures by path.

``{"image": "a.jpg", "question": "...", "chosen": "...", "rejected": "..."}``; ``image`` may be a list or absent,
``rejected`` may be a list or, for plain fine-tuning, absent. ``kind`` groups questions in evaluations.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import POINTER, parse_json, pointer_fault, regular, why


@dataclass(frozen=True)
class Triple:
    """One line of a data file. ``images`` are paths as written, absolute or relative to the file's folder."""

    question: str
    chosen: str
    rejected: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    kind: str = ""

    def to_json(self) -> str:
        """Returns the line, without its end."""
        line: dict[str, Any] = {"question": self.question, "chosen": self.chosen}
        if self.images:
            line["image"] = self.images[0] if len(self.images) == 1 else list(self.images)
        if self.rejected:
            line["rejected"] = self.rejected[0] if len(self.rejected) == 1 else list(self.rejected)
        if self.kind:
            line["kind"] = self.kind
        return json.dumps(line, ensure_ascii=False)


def parse_line(line: str) -> Triple:
    """Returns the triple of a line. Raises ValueError, with a readable message, for anything else."""
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise ValueError(f"is not JSON ({why(error)})") from None
    return triple_of(entry)


def triple_of(entry: object) -> Triple:
    """Returns the triple of a decoded row. Raises ValueError, with a readable message, for anything else."""
    if not isinstance(entry, dict):
        raise ValueError("is not a JSON object")
    question, chosen, kind = (entry.get(key, "") for key in ("question", "chosen", "kind"))
    if not all(isinstance(text, str) for text in (question, chosen, kind)):
        raise ValueError("has a question, chosen or kind that is not text")
    if "question" not in entry or "chosen" not in entry:
        raise ValueError("lacks question or chosen")
    triple = Triple(question, chosen, _texts(entry, "rejected"), _texts(entry, "image"), kind)
    try:
        "".join((question, chosen, kind, *triple.rejected, *triple.images)).encode()
    except UnicodeEncodeError:
        raise ValueError("has a text with half a character (a lone surrogate)") from None
    return triple


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    """Returns a text or a list of texts as a tuple."""
    value = entry.get(key)
    values = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(text, str) for text in values):
        raise ValueError(f"has a {key} that is neither a text nor a list of texts")
    return tuple(values)


def same_answer(one: str, other: str) -> bool:
    """True where two answers differ only in case, spaces and a final stop."""
    return _plain(one) == _plain(other)


def _plain(answer: str) -> str:
    return " ".join(answer.split()).casefold().rstrip(".")


def moved(triple: Triple, folder: Path, new_folder: Path) -> Triple:
    """Returns the triple for a file in ``new_folder``: relative pictures still point to the same files."""
    if folder.resolve() == new_folder.resolve():
        return triple
    names = (
        name if Path(name).is_absolute() else Path(os.path.relpath(folder / name, new_folder)).as_posix()
        for name in triple.images
    )
    return replace(triple, images=tuple(names))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a data file that are not empty, with their numbers."""
    try:
        with regular(path).open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and line.startswith(POINTER):
                    raise pointer_fault(path)
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise EdgeError(f"there is no file {path}", "give the path of a JSONL file of triples") from None
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeError(f"{path} cannot be read: {error}", "give a JSONL file in UTF-8") from error


def read_triples(path: Path) -> Iterator[Triple]:
    """Yields the triples of a file. Raises EdgeError at the first faulty line, by its number."""
    for number, line in numbered_lines(path):
        try:
            yield parse_line(line)
        except ValueError as error:
            raise EdgeError(
                f"{path}, line {number} {error}",
                f"run: phantom-edge data validate {quote(str(path))} --repaired fixed.jsonl",
            ) from None

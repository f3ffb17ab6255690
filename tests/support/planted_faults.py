"""Faults to plant in files, each from a seed: damaged bytes, changed JSON, and other things in a file's place."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"

Fault = Callable[[Path, Random], None]


def bytes_changed(change: Callable[[bytearray, Random], bytes | bytearray]) -> Fault:
    """A fault of content alone."""

    def plant(path: Path, random: Random) -> None:
        path.write_bytes(change(bytearray(path.read_bytes()), random))

    return plant


def flipped(content: bytearray, random: Random) -> bytearray:
    """A bit, mostly near the beginning, where headers are."""
    if content:
        near = min(len(content), random.choice((64, 4096, len(content))))
        content[random.randrange(near)] ^= 1 << random.randrange(8)
    return content


def cut(content: bytearray, random: Random) -> bytearray:
    """The beginning alone."""
    return content[: random.randrange(len(content) + 1)]


def zeroed(content: bytearray, random: Random) -> bytearray:
    """A hole, as a crash of the system leaves one."""
    start = random.randrange(len(content) + 1)
    end = min(len(content), start + random.choice((1, 16, 4096)))
    content[start:end] = bytes(end - start)
    return content


def doubled(content: bytearray, random: Random) -> bytearray:
    """A part twice."""
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start : start + random.choice((1, 64, 4096))] + content[start:]


def swapped(content: bytearray, random: Random) -> bytearray:
    """Two halves in the wrong order."""
    middle = random.randrange(len(content) + 1)
    return content[middle:] + content[:middle]


BYTES: dict[str, Fault] = {
    "a bit flipped": bytes_changed(flipped),
    "cut short": bytes_changed(cut),
    "a hole of zeros": bytes_changed(zeroed),
    "a part twice": bytes_changed(doubled),
    "halves swapped": bytes_changed(swapped),
    "empty": bytes_changed(lambda _content, _random: b""),
    "a pointer of Git LFS": bytes_changed(lambda _content, _random: POINTER),
    "a page of HTML": bytes_changed(lambda _content, _random: b"<!DOCTYPE html><title>404</title>" * 40),
    "noise": bytes_changed(lambda content, random: random.randbytes(min(len(content), 100_000))),
    "a byte order mark": bytes_changed(lambda content, _random: b"\xef\xbb\xbf" + content),
    "more at the end": bytes_changed(lambda content, random: content + random.randbytes(random.choice((1, 100)))),
}

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1.5, 2**31, 2**63, 10**30, 1e308, -1e-320, float("nan"), float("inf")),
    *("", "\0", "\n", "a" * 100_000, "../../x", "/etc/passwd", "\ud800", "\x1b[31m", "{{ x }}"),
    *([], {}, [[]], {"": None}, ["a"] * 1000),
)
"""Values in the place of any other."""


def json_changed(path: Path, random: Random) -> None:
    """Replace, remove or add a value somewhere in a JSON document."""
    document = json.loads(path.read_text("utf-8"))
    places = list(_places(document))
    if not places:
        return
    holder, step = random.choice(places)
    match random.choice(("replace", "remove", "add", "exchange")):
        case "replace":
            holder[step] = random.choice(ODD)
        case "remove":
            del holder[step]
        case "add" if isinstance(holder, dict):
            holder["surprise"] = random.choice(ODD)
        case "add":
            holder.append(random.choice(ODD))
        case _:
            other, at = random.choice(places)
            holder[step], other[at] = other[at], holder[step]
    try:
        text = json.dumps(document)
    except (ValueError, RecursionError):  # a part that was exchanged with one inside it
        text = "{"
    path.write_text(text, "utf-8")


def nested(path: Path, random: Random) -> None:
    """A value nested deeper than any reader goes."""
    text = path.read_text("utf-8")
    deep = random.choice(("[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "1e999"))
    at = text.find(":", random.randrange(max(len(text), 1)))
    path.write_text(deep if at < 0 else f'{text[: at + 1]} {deep}, "a": {text[at + 1 :]}', "utf-8")


JSON: dict[str, Fault] = {"JSON changed": json_changed, "JSON changed again": json_changed, "JSON nested": nested}


def _places(document: Any) -> "list[tuple[Any, Any]]":
    """Every holder in a document, with each of its steps."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        steps = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for step, inner in steps:
            found.append((holder, step))
            waiting.append(inner)
    return found


def instead(make: Callable[[Path], object]) -> Fault:
    """A fault that puts something else in the file's place."""

    def plant(path: Path, _random: Random) -> None:
        path.unlink()
        make(path)

    return plant


OTHERS: dict[str, Fault] = {
    "gone": instead(lambda _path: None),
    "a folder": instead(lambda path: path.mkdir()),
    "a pipe": instead(os.mkfifo),
    "a link to itself": instead(lambda path: path.symlink_to(path)),
    "a link to nothing": instead(lambda path: path.symlink_to("nowhere")),
    "a link to endless zeros": instead(lambda path: path.symlink_to("/dev/zero")),
}

FAULTS = {**BYTES, **BYTES, **JSON, **OTHERS}


@dataclass(frozen=True)
class Planned:
    """A fault that is chosen, and not planted yet: its file, relative to a folder, its name, and its own chance."""

    path: Path
    name: str
    random: Random

    def plant(self, folder: Path) -> None:
        """Plant it in a copy of the folder."""
        FAULTS[self.name](folder / self.path, self.random)

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


def planned(folder: Path, seed: str) -> Planned:
    """Choose a fault in a file of ``folder``. The same seed chooses the same fault."""
    random = Random(seed)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = random.choice(files)
    name = random.choice(list(FAULTS))
    if name in JSON and path.suffix != ".json":
        name = random.choice(list(BYTES))
    return Planned(path.relative_to(folder), name, random)

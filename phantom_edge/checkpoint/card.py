"""The model card of a checkpoint: its licence and uses, read from README.md and carried to what is made from it.

Nothing in a card breaks what is made from its checkpoint: a fault is a note, and the field stays empty.
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load

from phantom_edge.checkpoint.markdown import first_paragraph, plain
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import regular

README = "README.md"
MOST_BYTES, MOST_METADATA = 1 << 20, 1 << 16
"""Largest card, and largest front matter in it, that are read, bytes and characters."""

MOST_NAME = 100
"""Longest name of a licence, characters."""

USES = ("direct use", "intended use", "intended uses", "primary intended uses", "uses", "use")
OUT_OF_SCOPE = ("out-of-scope use", "out-of-scope uses", "out of scope", "out-of-scope use cases", "limitations")
"""Titles of sections, in lower case and by priority. A section whose title begins with one of them counts, too."""

LICENSE_KEYS = ("license", "license_name", "license_link")
"""Keys of the front matter that state the licence."""

FRONT_MATTER = re.compile(r"\s*---(?:\r\n|\r|\n)(.*?)(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\r|\n|$)", re.DOTALL)
FAULTS = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RecursionError)
"""Errors of PyYAML: its own, and Python's for tags such as ``!!int`` on other text."""


@dataclass(frozen=True)
class Card:
    """Contents of a model card; None for what it does not state."""

    text: str | None = None
    """The card, Markdown."""
    license: str | None = None
    """Licence of the weights."""
    uses: str | None = None
    """Intended use, one line of plain text."""
    out_of_scope: str | None = None
    """Excluded uses, one line of plain text."""
    license_entries: dict[str, str | list[str]] = field(default_factory=dict)
    """The front matter's entries about the licence."""
    notes: tuple[str, ...] = ()
    """Faults, a line each."""


def read_card(folder: Path) -> Card:
    """The card of a checkpoint; empty where it has none, or none that can be read."""
    path = folder / README
    text, fault = _text(path)
    if text is None:
        return Card(notes=(f"{path} is not used as the model card: {fault}",) if fault else ())
    entries, notes = _license_entries(path, text)
    block = FRONT_MATTER.match(text)
    body = text if block is None else text[block.end() :]
    uses, out_of_scope = first_paragraph(body, USES), first_paragraph(body, OUT_OF_SCOPE)
    return Card(text, _license(entries), uses, out_of_scope, entries, notes)


def _text(path: Path) -> tuple[str | None, str]:
    """The text of a card, and the reason where there is none."""
    try:
        if not path.is_file():
            return None, ""
        if path.stat().st_size > MOST_BYTES:
            return None, f"it is larger than {MOST_BYTES:,} bytes"
        return regular(path).read_bytes().decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return None, "it is no UTF-8"
    except OSError as error:
        return None, f"it cannot be read ({error.strerror})"


def _license_entries(path: Path, text: str) -> tuple[dict[str, str | list[str]], tuple[str, ...]]:
    """The front matter's entries about the licence, and notes."""
    block = FRONT_MATTER.match(text)
    if block is not None and len(block[1]) > MOST_METADATA:
        return {}, (f"{path}: its front matter is larger than {MOST_METADATA:,} characters, and is not read",)
    try:
        found: Mapping[Any, Any] = metadata_load(path) or {}
    except FAULTS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {}, (f"{path}: its front matter cannot be read ({reason})",)
    except OSError as error:
        return {}, (f"{path} cannot be read ({error.strerror})",)
    entries: dict[str, str | list[str]] = {}
    for key in LICENSE_KEYS:
        value = found.get(key)
        if isinstance(value, str) and plain(value):
            entries[key] = value
        elif isinstance(value, list) and value and all(isinstance(one, str) and plain(one) for one in value):
            entries[key] = list(value)
    if "license" not in entries:
        return entries, (f"{path} states no licence in its front matter",)
    return entries, ()


def _license(entries: Mapping[str, str | list[str]]) -> str | None:
    """The licence, by its own name where the hub has none for it; several with commas between."""
    value = entries.get("license")
    if value in ("other", ["other"]):
        value = entries.get("license_name", value)
    names = [] if value is None else [value] if isinstance(value, str) else value
    return ", ".join(names_of[:MOST_NAME] for names_of in map(plain, names)) or None


def carry_card(source: Path, folder: Path, preface: str = "") -> None:
    """Copy card and licence of the checkpoint ``source``; ``preface`` says what was made from it, in Markdown.

    A card that is in ``folder`` already stays.
    """
    for path in (source / README, *sorted(source.glob("LICENSE*"))):
        to = folder / path.name
        if not path.is_file() or to.exists():
            continue
        text = _text(path)[0] if path.name == README and preface else None
        if text is None:
            shutil.copyfile(path, to)
        else:
            to.write_text(_prefaced(text, preface), encoding="utf-8")


def carry_card_of(name: str, folder: Path) -> None:
    """Copy card and licence of the checkpoint from which a model was loaded, where it is on this machine."""
    from phantom_edge.models.hub import CARD_FILES, find_folder, name_of

    try:
        source = find_folder(name, CARD_FILES, local_files_only=True)
    except EdgeError:
        return
    if source.resolve() != folder.resolve():
        carry_card(source, folder, f"Saved from {name_of(name)}, whose card follows; the weights may be others.")


def _prefaced(text: str, preface: str) -> str:
    """The card with a quoted line behind its front matter."""
    block = FRONT_MATTER.match(text)
    end = 0 if block is None else block.end()
    return f"{text[:end]}\n> {preface}\n\n{text[end:].lstrip()}"

"""Entries of a benchmark's files, checked field by field: errors name the file and the entry's number."""

import base64
import binascii
import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_edge.data.triples import numbered_lines
from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.foundation.json_file import parse_json, read_text

AGAIN = "download the file again, or compare it with the benchmark's own layout"

LONGEST_CELL = 2**31 - 1
"""Maximum cell length, letters, that csv supports on every system."""


@dataclass(frozen=True)
class Entry:
    """One question of a file; ``where`` names its place in error messages."""

    fields: Mapping[str, Any]
    where: str

    def text(self, name: str) -> str:
        """Returns a field that must be a text; numbers count as their text. Raises EdgeError otherwise."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(name, "text")
        return str(value)

    def number(self, name: str) -> int:
        """Returns a field that must be a whole number."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, "whole number")
        return value

    def texts(self, name: str) -> list[str]:
        """Returns a field that must be a list of texts, not empty."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
            raise self.wrong(name, "list of texts")
        return value

    def inner(self, name: str) -> "Entry":
        """Returns a field that must be an object."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "object")
        return Entry(value, f"{self.where}, {name}")

    def wrong(self, name: str, wanted: str) -> EdgeError:
        """Returns the error for a field that is absent or of another type."""
        found = f"{name!r} is no {wanted}" if name in self.fields else f"has no {name!r}"
        return EdgeError(f"{self.where}: {found}", AGAIN)


def read_list(path: Path) -> Iterator[Entry]:
    """Read the objects of a JSON list."""
    document = _read_json(path)
    if not isinstance(document, list):
        raise EdgeError(f"{path} holds no JSON list", AGAIN)
    for number, fields in enumerate(document, start=1):
        yield _entry(fields, f"{path}, entry {number}")


def read_object(path: Path) -> Entry:
    """Read a JSON object."""
    return _entry(_read_json(path), str(path))


def read_json_lines(path: Path) -> Iterator[Entry]:
    """Read the objects of a file with one in each line. Raises EdgeError if there is none."""
    _check_file(path)
    number = 0
    for number, line in numbered_lines(path):
        try:
            yield _entry(parse_json(line), f"{path}, line {number}")
        except ValueError as error:
            raise EdgeError(f"{path}, line {number} is not JSON: {error}", AGAIN) from None
    if not number:
        raise EdgeError(f"{path} is empty", AGAIN)


def read_tsv(path: Path, columns: tuple[str, ...]) -> Iterator[Entry]:
    """Read the rows of a tab-separated table; empty cells are absent. Raises EdgeError if ``columns`` are missing."""
    _check_file(path)
    limit = csv.field_size_limit(LONGEST_CELL)  # a picture in base64 is longer than csv's default
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            _check_columns(path, rows.fieldnames or (), columns)
            for number, row in enumerate(rows, start=1):
                yield Entry({name: cell for name, cell in row.items() if name and cell}, f"{path}, row {number}")
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise EdgeError(f"{path} cannot be read: {error}", AGAIN) from None
    finally:
        csv.field_size_limit(limit)


def read_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[Entry]:
    """Read the rows of a parquet file. Raises EdgeError if ``columns`` are missing."""
    _check_file(path)
    arrow, parquet = need("pyarrow", "train"), need("pyarrow.parquet", "train")
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            number = 0
            for batch in file.iter_batches(batch_size=64):
                for row in batch.to_pylist():
                    number += 1
                    yield Entry({name: cell for name, cell in row.items() if cell is not None}, f"{path}, row {number}")
    except (arrow.ArrowException, OSError) as error:
        raise EdgeError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}", AGAIN) from None


def decode_picture(entry: Entry, name: str) -> bytes:
    """Returns the picture of a field: encoded bytes, base64 of them, or the object of the ``datasets`` library."""
    value = entry.fields.get(name)
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.rpartition(",")[2], validate=True)  # before a comma: "data:image/png;base64"
        except (binascii.Error, ValueError):
            raise EdgeError(f"{entry.where}: {name!r} is no base64", AGAIN) from None
    if not isinstance(value, bytes) or not value:
        raise entry.wrong(name, "picture")
    return value


def _read_json(path: Path) -> Any:
    _check_file(path)
    try:
        return parse_json(read_text(path, AGAIN))
    except ValueError as error:
        raise EdgeError(f"{path} is not readable JSON: {error}", AGAIN) from None


def _entry(fields: Any, where: str) -> Entry:
    if not isinstance(fields, dict):
        raise EdgeError(f"{where} is no JSON object", AGAIN)
    return Entry(fields, where)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise EdgeError(
            f"there is no file {path}", "give --data the folder that holds all benchmarks, each in a folder of its own"
        )


def _check_columns(path: Path, found: Any, wanted: tuple[str, ...]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise EdgeError(f"{path} has no column {', '.join(missing)}", AGAIN)

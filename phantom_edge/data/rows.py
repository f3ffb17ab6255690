"""A row of any source: a triple with its pictures, as files or as bytes, or a description of its fault."""

import glob
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from phantom_edge.data.triples import Triple, triple_of

Picture = Path | bytes
"""A file, or the encoded bytes of one; ``open_image`` takes both."""


@dataclass(frozen=True)
class Sample:
    """A triple with its pictures."""

    triple: Triple
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Row:
    """A row of a source: a sample, or the description of its ``fault``.

    ``place`` is the number of the line or row, with the file where there are several, or the row's name if it has one.
    """

    place: int | str
    sample: Sample | None
    fault: str = ""


MOST_MATCHES = 256
"""Pictures that a glob may name."""


def picture_paths(folder: Path, name: str) -> tuple[Path, ...]:
    """Returns the files of a picture's name: one, or for a glob those that match, sorted.

    Raises ValueError, with a readable message, for a glob that leaves the folder or matches too much.
    """
    path = folder / name
    if "\0" in name or not glob.has_magic(name) or os.path.lexists(path):
        return (path,)
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise ValueError("names pictures by a pattern that leaves the folder of its file")
    found = sorted(islice(glob.iglob(name, root_dir=folder, recursive=True), MOST_MATCHES + 1))
    if len(found) > MOST_MATCHES:
        raise ValueError(f"names pictures by a pattern that matches more than {MOST_MATCHES} files")
    return tuple(folder / one for one in found) or (path,)


def row_of(place: int | str, record: dict[str, object], folder: Path) -> Row:
    """Returns the row of a decoded record whose pictures may be embedded; None means absent."""
    entry = {name: value for name, value in record.items() if value is not None}
    cells = entry.pop("image", entry.pop("images", None))
    names: list[str] = []
    pictures: list[Picture] = []
    try:
        for cell in cells if isinstance(cells, list) else [] if cells is None else [cells]:
            held = cell.get("bytes") if isinstance(cell, dict) else cell
            name = cell.get("path") if isinstance(cell, dict) else cell
            if isinstance(held, bytes):
                names.append(name if isinstance(name, str) and name else f"picture {len(names) + 1}")
                pictures.append(held)
            elif isinstance(name, str):
                names.append(name)
                pictures += picture_paths(folder, name)
            else:
                return Row(place, None, "has a picture that is neither a path nor bytes")
        return Row(place, Sample(triple_of({**entry, "image": names}), tuple(pictures)))
    except ValueError as error:
        return Row(place, None, str(error))

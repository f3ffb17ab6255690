"""WebDataset shards: members of a tar that share a name up to its first dot are one sample.

Read with the standard library, not with the datasets library: that one refuses shards whose samples have different
members (questions without a picture among others), and one malformed ``.json`` ends it instead of being a fault of its
sample.
"""

import lzma
import tarfile
import zlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from phantom_edge.data.rows import Row, row_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json, regular, why

PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm")

LARGEST = 256_000_000
"""Bytes of the largest member that is read; a small compressed tar may hold members of any size."""


_BROKEN = (
    *(tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError),
    *(ValueError, TypeError, IndexError, OverflowError),
)
"""Exceptions of tarfile on malformed bytes; the last four are of its own code (``ord`` of a header that ends)."""


def tar_rows(file: str) -> Iterator[Row]:
    """Yields the samples of a shard, by key: a ``.json`` with the fields of a line, and the pictures.

    Where the ``.json`` names pictures under ``image``, those members are taken in that order; otherwise all of them, in
    the tar's order.
    """
    for key, members in groupby(_members(file), key=lambda member: member[0]):
        yield _sample(key, {name: content for _, name, content in members})


def _members(file: str) -> Iterator[tuple[str, str, bytes]]:
    """Yields key, name after the key, and content of each member that belongs to a sample."""
    try:
        with tarfile.open(regular(Path(file)), "r|*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                stem, _, name = path.name.partition(".")
                is_read = name == "json" or name.lower().rpartition(".")[2] in PICTURES
                content = tar.extractfile(member) if member.isfile() and stem and is_read else None
                if content is None:
                    continue
                if member.size > LARGEST:
                    raise tarfile.ReadError(f"its {member.name} has {member.size:,} bytes, more than {LARGEST:,}")
                yield str(path.with_name(stem)), name, content.read()
            # tarfile takes a broken header for the end; at a true end a second block of zeros follows
            end = tar.fileobj.read(tarfile.BLOCKSIZE) if tar.fileobj else b""
            if len(end) < tarfile.BLOCKSIZE or end.strip(b"\0"):
                raise tarfile.ReadError("it is damaged or cut short")
    except FileNotFoundError:
        raise EdgeError(f"there is no file {file}", "give the path of a tar shard") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EdgeError(f"{file} cannot be read: {reason}", "copy or download the shard again") from error


def _sample(key: str, members: dict[str, bytes]) -> Row:
    if "json" not in members:
        return Row(key, None, "has no .json")
    try:
        entry = parse_json(members.pop("json"))
    except ValueError as error:
        return Row(key, None, f"is not JSON ({why(error)})")
    if not isinstance(entry, dict):
        return Row(key, None, "is not a JSON object")
    named = entry.pop("image", entry.pop("images", None))
    names = [named] if isinstance(named, str) else named
    if names is None:
        all_of_them = [{"path": f"{key}.{name}", "bytes": content} for name, content in members.items()]
        return row_of(key, {**entry, "image": all_of_them}, Path())
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return Row(key, None, "has an image that is neither a text nor a list of texts")
    stem = PurePosixPath(key).name
    found = [members.get(name, members.get(PurePosixPath(name).name.removeprefix(f"{stem}."))) for name in names]
    if None in found:
        return Row(key, None, "names a picture that its shard lacks")
    cells: list[dict[str, object]] = [{"path": n, "bytes": content} for n, content in zip(names, found, strict=True)]
    return row_of(key, {**entry, "image": cells}, Path())

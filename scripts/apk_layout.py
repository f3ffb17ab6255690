"""The layout of an APK: where its files begin, and whether a phone with pages of 16 KB can map its libraries."""

import struct
import zipfile
from pathlib import Path

PAGE = 16384
ALIGNMENT = 0xD935
"""Header of Android's extra field, by which apksigner keeps an alignment: the alignment, then zeros."""

LOAD = 1
LOCAL_HEADER = 30


def add(apk: zipfile.ZipFile, name: str, content: bytes, stored: bool = False, align: int = 1) -> None:
    """Adds a file; a stored one begins at a multiple of ``align``."""
    item = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    item.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    item.external_attr = 0o644 << 16
    if stored and align > 1:
        assert apk.fp is not None
        begin = apk.fp.tell() + LOCAL_HEADER + len(name.encode()) + 6
        item.extra = struct.pack("<HHH", ALIGNMENT, 2 + -begin % align, align) + bytes(-begin % align)
    apk.writestr(item, content)


def begin_of(apk: Path, item: zipfile.ZipInfo) -> int:
    """Offset of a file's content in the zip."""
    with apk.open("rb") as stream:
        stream.seek(item.header_offset)
        header = stream.read(LOCAL_HEADER)
    name, extra = struct.unpack("<HH", header[26:30])
    return item.header_offset + LOCAL_HEADER + int(name) + int(extra)


def loads(elf: bytes) -> list[int]:
    """Alignments of the segments that are loaded from a 64-bit ELF file; empty for another file."""
    if elf[:6] != b"\x7fELF\x02\x01":
        return []
    (table,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    heads = [struct.unpack_from("<IIQQQQQQ", elf, table + number * size) for number in range(count)]
    return [int(head[7]) for head in heads if head[0] == LOAD]


def misaligned(apk: Path) -> list[str]:
    """The native libraries that a phone with pages of 16 KB cannot map, each with its reason."""
    wrong = []
    with zipfile.ZipFile(apk) as archive:
        for item in archive.infolist():
            if not item.filename.endswith(".so"):
                continue
            segments = loads(archive.read(item))
            if item.compress_type != zipfile.ZIP_STORED:
                wrong.append(f"{item.filename} (compressed)")
            elif begin_of(apk, item) % PAGE:
                wrong.append(f"{item.filename} (begins at {begin_of(apk, item)})")
            elif not segments or min(segments) < PAGE:
                wrong.append(f"{item.filename} (segments of {min(segments, default=0)} bytes)")
    return wrong

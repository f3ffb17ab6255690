"""weights/weight.bin: numbers in blobs of bytes, each with a header of 64 bytes.

The layout is that of ``StorageFormat.hpp`` in coremltools (mlmodel/src/MILBlob/Blob): the file begins with 64 bytes
that hold the count of blobs and the version 2; a blob's header holds the sentinel 0xDEADBEEF, the number format, the
size in bytes, the offset of the bytes in the file and, for formats below 8 bits, the number of unused bits at the end.
All of it is little endian.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phantom_edge.export.interpreters.mil.formats import Format, bytes_of, unpacked
from phantom_edge.foundation.errors import EdgeError

AGAIN = "export it again: phantom-edge export"
SENTINEL = 0xDEADBEEF
VERSION = 2
HEADER = 64
FILE_FIELDS = struct.Struct("<II")
BLOB_FIELDS = struct.Struct("<IIQQQ")


@dataclass(frozen=True)
class Blob:
    """Range of a blob's numbers in the file, bytes."""

    offset: int
    size: int


class Blobs:
    """A weight file, mapped into memory. Raises EdgeError for one that is missing or no weight file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise EdgeError(f"{path} is missing, although the program refers to it", AGAIN)
        self.size = path.stat().st_size
        if self.size < HEADER:
            raise EdgeError(f"{path} is cut off: it has {self.size} bytes", AGAIN)
        self.bytes: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        _, version = FILE_FIELDS.unpack_from(self.bytes[:HEADER].tobytes())
        if version != VERSION:
            raise EdgeError(f"{path} has version {version} of the weight file, not {VERSION}", AGAIN)

    def find(self, header: int, number: Format, count: int, name: str) -> Blob:
        """Finds the blob with its header at byte ``header``, of ``count`` numbers of the constant ``name``.

        Raises EdgeError for an invalid one.
        """
        place = f"{self.path}: the weights of '{name}'"
        if header % HEADER or not HEADER <= header <= self.size - HEADER:
            raise EdgeError(f"{place} should begin at byte {header} of {self.size}", AGAIN)
        sentinel, code, size, offset, unused = BLOB_FIELDS.unpack_from(self.bytes[header : header + HEADER].tobytes())
        if sentinel != SENTINEL:
            raise EdgeError(f"{place} have no header: {sentinel:#x} instead of {SENTINEL:#x}", AGAIN)
        if number.blob is None or code != number.blob:
            raise EdgeError(f"{place} have number format {code} in the file, but are declared {number.name}", AGAIN)
        if size != bytes_of(number, count) or (number.bits < 8 and size * 8 - unused != count * number.bits):
            raise EdgeError(f"{place} take {size} bytes, not those of {count} numbers of {number.name}", AGAIN)
        if offset < HEADER or offset + size > self.size:
            raise EdgeError(f"{place} end at byte {offset + size}, outside the file of {self.size} bytes", AGAIN)
        return Blob(offset, size)

    def read(self, blob: Blob, number: Format, count: int) -> NDArray[np.generic]:
        """The numbers of a blob, one-dimensional; not copied for formats of whole bytes."""
        return unpacked(self.bytes[blob.offset : blob.offset + blob.size], number, count)

"""Number formats of ML programs: their codes in files, their bits, and their dtypes here."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True)
class Format:
    """One format. ``array`` is the numpy dtype of its unpacked numbers, ``tensor`` the torch dtype of computation.

    Floats of every width are computed in float32, and unsigned numbers that torch does not support in wider integers.
    """

    name: str
    proto: int  # of enum DataType in MIL.proto
    blob: int | None  # of enum BlobDataType in coremltools' StorageFormat.hpp
    bits: int
    array: DTypeLike
    tensor: torch.dtype | None  # None for formats that no operation computes with

    @property
    def is_float(self) -> bool:
        """True for a float format."""
        return self.tensor is torch.float32


ALL = (
    Format("bool", 1, None, 8, np.bool_, torch.bool),
    Format("string", 2, None, 0, np.object_, None),
    Format("float16", 10, 1, 16, "<f2", torch.float32),
    Format("float32", 11, 2, 32, "<f4", torch.float32),
    Format("float64", 12, None, 64, "<f8", torch.float32),
    Format("bfloat16", 13, 5, 16, "<u2", torch.float32),
    Format("int8", 21, 4, 8, np.int8, torch.int8),
    Format("int16", 22, 6, 16, "<i2", torch.int16),
    Format("int32", 23, 14, 32, "<i4", torch.int32),
    Format("int64", 24, None, 64, "<i8", torch.int64),
    Format("int4", 25, 8, 4, np.int8, torch.int8),
    Format("uint8", 31, 3, 8, np.uint8, torch.uint8),
    Format("uint16", 32, 7, 16, "<u2", torch.int32),
    Format("uint32", 33, 15, 32, "<u4", torch.int64),
    Format("uint64", 34, None, 64, "<u8", None),
    Format("uint4", 35, 11, 4, np.uint8, torch.uint8),
    Format("uint2", 36, 10, 2, np.uint8, torch.uint8),
    Format("uint1", 37, 9, 1, np.uint8, torch.uint8),
    Format("uint6", 38, 13, 6, np.uint8, torch.uint8),
    Format("uint3", 39, 12, 3, np.uint8, torch.uint8),
)
FORMATS = {one.name: one for one in ALL}
BY_PROTO = {one.proto: one for one in ALL}

NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}
"""Names of float formats in parameters such as cast's ``dtype``."""

SMALLEST = {"int8": -128, "uint8": 0, "int4": -8, "uint4": 0}
LARGEST = {"int8": 127, "uint8": 255, "int4": 7, "uint4": 15}
"""Ranges of ``quantize``'s output formats."""


def unpacked(data: NDArray[np.uint8], number: Format, count: int) -> NDArray[np.generic]:
    """Unpacks the first ``count`` numbers from bytes; those below 8 bits are packed from the lowest bit on.

    Returns bfloat16 as float32, other formats in their own array dtype.
    """
    if number.name == "bfloat16":
        return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)[:count]
    if number.bits >= 8:
        return data.view(number.array)[:count]
    if number.bits in (1, 2, 4):
        shifts = np.arange(0, 8, number.bits, dtype=np.uint8)
        values = ((data[:, None] >> shifts) & np.uint8(2**number.bits - 1)).reshape(-1)[:count]
    else:
        values = _across_bytes(data, number.bits)[:count]
    if number.name == "int4":
        return ((values ^ 8).astype(np.int8) - np.int8(8)).astype(np.int8)
    return values


def _across_bytes(data: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Unpacks numbers of 3 or 6 bits: 8 of them take 3 or 6 bytes, and some cross a byte boundary."""
    rows = np.pad(data, (0, -len(data) % bits)).reshape(-1, bits)
    found = np.empty((len(rows), 8), np.uint8)
    for place in range(8):
        byte, shift = divmod(place * bits, 8)
        found[:, place] = rows[:, byte] >> shift
        if shift + bits > 8:
            found[:, place] |= rows[:, byte + 1] << (8 - shift)
    return (found & np.uint8(2**bits - 1)).reshape(-1)


def bytes_of(number: Format, count: int) -> int:
    """Size of ``count`` packed numbers, bytes."""
    return -(-count * number.bits // 8)

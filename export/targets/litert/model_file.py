"""A .tflite file in the making: buffers of weights that all its graphs share, written one at a time.

Weights lie behind the flatbuffer, which names their places: the file may exceed a flatbuffer's 2 GB, and no more than
one weight is in memory. Readers map the file, so each begins at a multiple of 64 bytes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_edge.export.targets.litert.importing import flatbuffers, schema

Array = NDArray[Any]

VERSION, IDENTIFIER = 3, b"TFL3"
ALIGNED = 64
"""Alignment of weights in the file, bytes."""

SMALL = 64
"""Maximum size of a buffer inside the flatbuffer, bytes: readers fold shapes and indices from there."""

DTYPES: dict[str, tuple[str, int]] = {
    "float32": ("FLOAT32", 32),
    "float16": ("FLOAT16", 16),
    "bfloat16": ("BFLOAT16", 16),
    "int32": ("INT32", 32),
    "int8": ("INT8", 8),
    "int4": ("INT4", 4),
    "bool": ("BOOL", 8),
}
"""Number formats: their names in the schema, and their bits."""


@dataclass(frozen=True)
class Buffer:
    """A constant: its number in the file, its shape and format, and its bytes, made when the file is written."""

    number: int
    shape: tuple[int, ...]
    dtype: str
    make: Callable[[], Array]

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return -(-prod(self.shape) * DTYPES[self.dtype][1] // 8)


class ModelFile:
    """Graphs with signatures, and the constants that they share."""

    def __init__(self) -> None:
        self.schema = schema()
        self.buffers: dict[str, Buffer] = {}
        self.codes: dict[str, int] = {}
        self.graphs: list[Any] = []
        self.signatures: list[Any] = []

    def buffer(self, name: str, shape: tuple[int, ...], dtype: str, make: Callable[[], Array]) -> Buffer:
        """Adds a constant, or returns the one of this name."""
        if name not in self.buffers:
            self.buffers[name] = Buffer(len(self.buffers) + 1, shape, dtype, make)
        found = self.buffers[name]
        assert (found.shape, found.dtype) == (shape, dtype), name
        return found

    def code(self, operator: str) -> int:
        """Returns the index of an operator's kind."""
        return self.codes.setdefault(operator, len(self.codes))

    def weight_bytes(self) -> dict[str, int]:
        """Returns bytes of the constants, by number format."""
        found: Counter[str] = Counter()
        for one in self.buffers.values():
            found[one.dtype] += one.bytes
        return dict(found)

    def save(self, path: Path, step: Callable[[int], None] = lambda _: None) -> None:
        """Writes the file; ``step`` counts bytes of weights."""
        held = {one.number: self._bytes(one) for one in self.buffers.values() if one.bytes <= SMALL}
        large = [one for one in self.buffers.values() if one.number not in held]
        start = _aligned(len(self._packed(held, dict.fromkeys((one.number for one in large), ALIGNED))))
        places: dict[int, int] = {}
        for one in large:
            places[one.number] = start
            start = _aligned(start + one.bytes)
        with path.open("wb") as out:
            out.write(self._packed(held, places))
            for one in large:
                out.write(bytes(places[one.number] - out.tell()))
                out.write(self._bytes(one))
                step(one.bytes)

    def _bytes(self, one: Buffer) -> bytes:
        found = np.ascontiguousarray(one.make()).tobytes()
        assert len(found) == one.bytes, (one, len(found))
        return found

    def _packed(self, held: dict[int, bytes], places: dict[int, int]) -> bytes:
        """Returns the flatbuffer; its size is independent of the places."""
        types = self.schema
        model = types.ModelT()
        model.version, model.description = VERSION, "phantom-edge"
        model.operatorCodes = [self._code(name) for name in self.codes]
        model.subgraphs, model.signatureDefs = self.graphs, self.signatures
        model.buffers = [types.BufferT()]  # the empty one
        for one in self.buffers.values():
            buffer = types.BufferT()
            if one.number in held:
                buffer.data = np.frombuffer(held[one.number], np.uint8)
            else:
                buffer.offset, buffer.size = places[one.number], one.bytes
            model.buffers.append(buffer)
        builder = flatbuffers().Builder(1 << 20)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, name: str) -> Any:
        number = getattr(self.schema.BuiltinOperator, name)
        code = self.schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        return code


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED

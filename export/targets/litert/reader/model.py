"""A .tflite file as it is read: graphs by their signatures, operators with attributes, constants with their scales."""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.targets.litert.importing import flatbuffers, schema
from phantom_edge.foundation.errors import EdgeError

Array = NDArray[Any]

STORED: dict[str, tuple[Any, int]] = {
    "FLOAT32": (np.dtype("<f4"), 32),
    "FLOAT16": (np.dtype("<f2"), 16),
    "BFLOAT16": (np.dtype("<u2"), 16),
    "INT32": (np.dtype("<i4"), 32),
    "INT64": (np.dtype("<i8"), 64),
    "INT8": (np.dtype("i1"), 8),
    "BOOL": (np.dtype("?"), 8),
    "INT4": (np.dtype("u1"), 4),
}
"""Number formats: the type in memory (for INT4 that of two numbers), and bits."""


@dataclass(frozen=True)
class Blocks:
    """Scales of blocks of a row: the tensor that holds them, and the numbers that share one."""

    scales: int
    size: int


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph. ``data`` are a constant's stored bytes; ``scales`` one for each row, or one for all."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: Array | None
    scales: Array | None
    zeros: Array | None
    axis: int
    blocks: Blocks | None

    @property
    def stored(self) -> Array:
        """Returns a constant's numbers: integers of 4 bits unpacked, bfloat16 as float32."""
        assert self.data is not None
        kind, _ = STORED[self.dtype]
        found: Array = self.data.view(kind)
        if self.dtype == "INT4":
            halves = np.stack([found & 15, found >> 4], axis=-1).reshape(-1)[: prod(self.shape)]
            found = ((halves ^ 8).astype(np.int8) - 8).astype(np.int8)
        elif self.dtype == "BFLOAT16":
            found = (found.astype(np.uint32) << 16).view(np.float32)
        return found.reshape(self.shape)


@dataclass(frozen=True)
class Operator:
    """An operator: its kind, its tensors (-1: left out), and its attributes."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any


@dataclass(frozen=True)
class ReadGraph:
    """A graph; ``inputs`` and ``outputs`` are the signature's."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]

    def weight(self, number: int) -> Array:
        """Returns a constant in float32, dequantized: the file's integers times the file's scales."""
        tensor = self.tensors[number]
        found = tensor.stored
        if tensor.blocks is not None:
            scales = self.tensors[tensor.blocks.scales].stored.astype(np.float32)
            return (found.reshape(*scales.shape, -1).astype(np.float32) * scales[..., None]).reshape(tensor.shape)
        if tensor.scales is None:
            return found.astype(np.float32) if tensor.dtype == "FLOAT16" else found
        assert tensor.zeros is not None
        shape = [-1 if axis == tensor.axis else 1 for axis in range(len(tensor.shape))]
        return (found.astype(np.float32) - tensor.zeros.reshape(shape)) * tensor.scales.reshape(shape)


def read_model(path: Path) -> dict[str, ReadGraph]:
    """Returns the graphs of a file by their signatures. Raises EdgeError where it is no such file, or damaged."""
    whole = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    flatbuffers()
    try:
        if whole[4:8].tobytes() != b"TFL3":
            raise ValueError("its identifier is not TFL3")
        model = schema().ModelT.InitFromPackedBuf(whole.data, 0)
        return _Reading(whole, model).graphs()
    except (struct.error, IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EdgeError(f"{path} is no .tflite file that can be read ({_short(error)})", AGAIN) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


class _Reading:
    """One pass over an unpacked file."""

    def __init__(self, whole: Array, model: Any) -> None:
        self.whole, self.model, types = whole, model, schema()
        self.types = {number: name for name, number in vars(types.TensorType).items() if name.isupper()}
        self.kinds = {number: name for name, number in vars(types.BuiltinOperator).items() if name.isupper()}
        self.blockwise = types.QuantizationDetails.BlockwiseQuantization

    def graphs(self) -> dict[str, ReadGraph]:
        """See read_model."""
        found = {}
        for signature in self.model.signatureDefs:
            graph = self.model.subgraphs[signature.subgraphIndex]
            name = _text(signature.signatureKey)
            found[name] = ReadGraph(
                name,
                tuple(self._tensor(one) for one in graph.tensors),
                tuple(self._operator(one) for one in graph.operators),
                {_text(one.name): int(one.tensorIndex) for one in signature.inputs},
                {_text(one.name): int(one.tensorIndex) for one in signature.outputs},
            )
        return found

    def _operator(self, one: Any) -> Operator:
        code = self.model.operatorCodes[one.opcodeIndex]
        kind = self.kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        return Operator(kind, tuple(map(int, one.inputs)), tuple(map(int, one.outputs)), one.builtinOptions)

    def _tensor(self, one: Any) -> Tensor:
        shape = tuple(map(int, [] if one.shape is None else one.shape))
        dtype = self.types[one.type]
        about, blocks = one.quantization, None
        scales = zeros = None
        if about is not None and about.detailsType == self.blockwise:
            blocks = Blocks(int(about.details.scales), int(about.details.blockSize))
        elif about is not None and about.scale is not None and len(about.scale):
            scales = np.array(about.scale, np.float32)
            zeros = np.array(about.zeroPoint, np.float32)
        axis = 0 if about is None else int(about.quantizedDimension)
        return Tensor(_text(one.name), shape, dtype, self._data(one.buffer, shape, dtype), scales, zeros, axis, blocks)

    def _data(self, number: int, shape: tuple[int, ...], dtype: str) -> Array | None:
        buffer = self.model.buffers[number]
        if buffer.offset > 1:
            data = self.whole[buffer.offset : buffer.offset + buffer.size]
        elif buffer.data is not None and len(buffer.data):
            data = np.array(buffer.data, np.uint8)
        else:
            return None
        if len(data) != -(-prod(shape) * STORED[dtype][1] // 8):
            raise ValueError("a constant has another size than its shape")
        return data


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)

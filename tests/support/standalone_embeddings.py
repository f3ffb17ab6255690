"""Rows of embeddings, by docs/bundle-format.md alone: a part of standalone_reader.py."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def unpack(data: Array, rows: int, bits: int) -> Array:
    """Unpacks unsigned integers: (rows, integers) float32. Of two in a byte, the low one is first."""
    table = data.reshape(rows, -1)
    if bits == 4:
        table = np.stack([table & 15, table >> 4], axis=2).reshape(rows, -1)
    return table.astype(np.float32)


def embedding_table(data: bytes, embedding: dict[str, Any]) -> Array:
    """Reads all rows of embeddings: (rows, width) float32."""
    rows, width, packed, offset = (embedding[name] for name in ("rows", "width", "rounded", "offset"))
    if packed is None:
        form = np.dtype(embedding["dtype"]).newbyteorder("<")
        return np.frombuffer(data, form, rows * width, offset).reshape(rows, width).astype(np.float32)
    block, bits = packed["block"], packed["bits"]
    blocks = -(-width // block)
    form = np.dtype(packed["scale_dtype"]).newbyteorder("<")
    scales = np.frombuffer(data, form, rows * blocks, packed["scales"]).reshape(rows, blocks, 1).astype(np.float32)
    integers = unpack(np.frombuffer(data, np.uint8, rows * blocks * block * bits // 8, offset), rows, bits)
    zero: Array = np.full((1, 1, 1), packed["zero_offset"], np.float32)
    if packed["zero_points"] is not None:
        row_bytes = -(-blocks * bits // 8)
        stored = np.frombuffer(data, np.uint8, rows * row_bytes, packed["zero_points"])
        zero = unpack(stored, rows, bits)[:, :blocks, None]
    numbers = (integers.reshape(rows, blocks, block) - zero) * scales
    return np.ascontiguousarray(numbers.reshape(rows, -1)[:, :width])

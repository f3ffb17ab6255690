"""Rows of an embedding table in a file, as floats or integers, read on demand."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Floats, Ints


class Table:
    """An embedding table in a file: ``table[ids]`` (N, width) in float32."""

    def __init__(self, table: Embedding, path: Path) -> None:
        self.table = table
        rounded = table.rounded

        def array(dtype: str, offset: int, width: int) -> NDArray[Any]:
            return np.memmap(path, np.dtype(dtype), "r", offset, (table.rows, width))

        self.zero_points: NDArray[Any] | None = None
        if rounded is None:
            self.numbers = array(table.dtype, table.offset, table.width)
            return
        self.numbers = array("uint8", table.offset, rounded.row_bytes(table.width))
        self.scales = array(table.dtype, rounded.scales, rounded.blocks(table.width))
        if rounded.zero_points is not None:
            self.zero_points = array("uint8", rounded.zero_points, rounded.zero_bytes(table.width))

    def __getitem__(self, ids: Ints) -> Floats:
        rounded, width = self.table.rounded, self.table.width
        if rounded is None:
            return np.asarray(self.numbers[ids], np.float32)
        integers, blocks = _integers(self.numbers[ids], rounded.bits), rounded.blocks(width)
        zeros: NDArray[Any] = np.array(rounded.zero_offset, np.float32)
        if self.zero_points is not None:
            zeros = _integers(self.zero_points[ids], rounded.bits)[:, :blocks, None]
        scales = np.asarray(self.scales[ids], np.float32)[:, :, None]
        rows: Floats = (integers.reshape(len(ids), blocks, rounded.block) - zeros) * scales
        return np.ascontiguousarray(rows.reshape(len(ids), -1)[:, :width])


class Rows(Table):
    """The embedding table of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        table = bundle.manifest.embedding
        if table is None:
            raise EdgeError(f"{bundle.path} has no table of embeddings", AGAIN)
        super().__init__(table, bundle.file(table.file))


def _integers(found: NDArray[np.uint8], bits: int) -> Floats:
    """(N, bytes) to (N, integers), as float32."""
    if bits == 4:
        found = np.stack([found & 15, found >> 4], axis=-1).reshape(len(found), -1)
    return found.astype(np.float32)

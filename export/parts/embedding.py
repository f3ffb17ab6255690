"""The embedding table as a file of its own, whose rows any host can read without a graph."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from phantom_edge.bundle.embedding import Embedding, Rounded
from phantom_edge.bundle.numbers import Float
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.parts.packing import blobs, block_scales, carried, is_plain, zeros
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.models.tensor_names import EMBEDDING

NUMBERS: dict[torch.dtype, Float] = {torch.float32: "float32", torch.float16: "float16"}
TABLE = "embedding.data"
BLOCK_ROWS = 4096


def write_embedding(source: Source, dtype: torch.dtype, parts: Unfinished, begin: Progress) -> Embedding:
    """Writes the part ``embedding``: floats, or integers followed by scales, and by zero points if there are any."""
    text, integers = source.config.text, source.integers
    shape = (text.vocab_size, text.hidden_size, NUMBERS[dtype])
    scheme = None if integers is None else integers.schemes.get(EMBEDDING)
    if integers is None or scheme is None:
        parts.part("embedding", partial(_write_floats, source, dtype, begin))
        return Embedding(TABLE, 0, *shape)
    parts.part("embedding", partial(_write_integers, integers.quantized(EMBEDDING), dtype, begin))
    bits, block = carried(scheme)
    rounded = Rounded(bits, block, 0, None, NUMBERS[dtype], 2 ** (bits - 1))
    scales = text.vocab_size * rounded.row_bytes(text.hidden_size)
    zero_points = scales + text.vocab_size * rounded.blocks(text.hidden_size) * dtype.itemsize
    places = (scales, None if is_plain(scheme) else zero_points)
    return Embedding(TABLE, 0, *shape, replace(rounded, scales=places[0], zero_points=places[1]))


def _write_floats(source: Source, dtype: torch.dtype, begin: Progress, folder: Path) -> None:
    text = source.config.text
    progress = begin("embedding", text.vocab_size * text.hidden_size * dtype.itemsize)
    with (folder / TABLE).open("wb") as out:
        for rows in torch.split(source.read(EMBEDDING), BLOCK_ROWS):
            out.write(rows.to(dtype).contiguous().numpy().tobytes())
            progress(rows.numel() * dtype.itemsize)


def _write_integers(table: Quantized, dtype: torch.dtype, begin: Progress, folder: Path) -> None:
    """Writes integers, scales, and zero points if there are any."""
    arrays: list[Callable[[Quantized], Tensor]] = [blobs, lambda part: block_scales(part).to(dtype)]
    if not is_plain(table.scheme):
        arrays.append(zeros)
    rows = len(table.integers)
    progress = begin("embedding", rows * len(arrays))
    with (folder / TABLE).open("wb") as out:
        for array in arrays:
            for start in range(0, rows, BLOCK_ROWS):
                part = table.rows(start, start + BLOCK_ROWS)
                out.write(array(part).contiguous().numpy().tobytes())
                progress(len(part.integers))

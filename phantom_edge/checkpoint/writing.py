"""Writes a checkpoint tensor by tensor, with at most one shard in memory."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from phantom_edge.checkpoint.reading import INDEX, SINGLE
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import mode_of_files

SHARD_BYTES = 1_000_000_000
"""Size at which a new shard begins. One shard is held in memory while it is written."""

Progress = Callable[[int], None]
"""Called with the bytes of each tensor."""


@dataclass(frozen=True)
class Planned:
    """A tensor to write: ``make`` is called once, with its shard."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]

    @property
    def bytes(self) -> int:
        """Size in the file, bytes."""
        return prod(self.shape) * self.dtype.itemsize


def write_shards(
    folder: Path, tensors: Sequence[Planned], *, shard_bytes: int = SHARD_BYTES, progress: Progress = lambda _: None
) -> None:
    """Write ``tensors`` to ``folder`` as one file, or as shards with an index.

    Raises OSError or EdgeError where the disk refuses.
    """
    shards = list(_shards(tensors, shard_bytes))
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / file, shard, progress)
        weight_map |= {tensor.name: file for tensor in shard}
    if len(shards) > 1:
        total = sum(tensor.bytes for tensor in tensors)
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _shards(tensors: Sequence[Planned], limit: int) -> Iterator[list[Planned]]:
    shard: list[Planned] = []
    for tensor in tensors:
        if shard and sum(t.bytes for t in shard) + tensor.bytes > limit:
            yield shard
            shard = []
        shard.append(tensor)
    if shard:
        yield shard


def _write_shard(file: Path, shard: list[Planned], progress: Progress) -> None:
    made: dict[str, Tensor] = {}
    for planned in shard:
        tensor = planned.make()
        assert tuple(tensor.shape) == planned.shape and tensor.dtype == planned.dtype, planned.name
        made[planned.name] = tensor.contiguous()
        progress(planned.bytes)
    try:
        save_file(made, file, metadata={"format": "pt"})
        file.chmod(mode_of_files(file.parent))  # safetensors makes it readable for its owner only
    except SafetensorError as error:
        raise EdgeError(
            f"cannot write {file} ({error})", "check the free space on that disk and run the command again"
        ) from error

"""Official to ours and back: every tensor the same bytes under another name."""

from collections.abc import Callable
from pathlib import Path

import torch

from phantom_edge.checkpoint.generation import read_carried
from phantom_edge.checkpoint.loading import open_checkpoint
from phantom_edge.checkpoint.planning import plan, read_processor, write_companions
from phantom_edge.checkpoint.writing import SHARD_BYTES, Progress, write_shards
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_folder
from phantom_edge.models import official_config


def convert(
    source: Path,
    out: Path,
    *,
    to_official: bool | None = None,
    dtype: torch.dtype | None = None,
    force: bool = False,
    shard_bytes: int = SHARD_BYTES,
    begin: Callable[[int], Progress] = lambda _: lambda _: None,
) -> bool:
    """Write the checkpoint ``source`` to ``out`` in the other layout; returns whether that is the official one.

    ``to_official`` chooses the layout (default: the one that ``source`` is not). ``dtype`` casts (default:
    unchanged, bit for bit). ``begin`` counts the bytes.
    """
    if source.resolve() != out.resolve() and source.resolve().is_relative_to(out.resolve()):
        raise EdgeError(f"{out} holds the source {source}", "write to a folder beside it")
    config, files, from_official = open_checkpoint(source)
    to_official = not from_official if to_official is None else to_official
    planned = plan(config, files, from_official, to_official, dtype)
    total = sum(tensor.bytes for tensor in planned)
    # read here, so that faults are reported before the weights are written
    read_carried(source, config)
    processor = read_processor(source)
    if to_official:
        official_config.write_config(config)
    if dtype is not None:
        config.dtype = dtype
    with whole_folder(out, force=force, bytes_needed=total) as folder:
        write_shards(folder, planned, shard_bytes=shard_bytes, progress=begin(total))
        write_companions(source, folder, config, processor, to_official)
    return to_official

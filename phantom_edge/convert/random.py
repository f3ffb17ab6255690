"""Checkpoints of the real shapes with random weights, to measure size and speed without the real ones."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor

from phantom_edge.checkpoint.loading import our_shapes
from phantom_edge.checkpoint.planning import save_config
from phantom_edge.checkpoint.writing import SHARD_BYTES, Planned, Progress, write_shards
from phantom_edge.convert.random_tokenizer import save_processor
from phantom_edge.foundation.files import whole_folder
from phantom_edge.models.config import RELEASED_ETA, PhantomConfig
from phantom_edge.models.sizes import Size

BLOCK_ELEMENTS = 1 << 24
"""Random numbers are drawn in float32 blocks of this many, so that a large table needs no second copy."""


def config_of(size: Size, eta: float = RELEASED_ETA) -> PhantomConfig:
    """The config of a known size."""
    return PhantomConfig(
        family=size.family,
        text_config={
            "vocab_size": size.vocab,
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.kv_heads,
            "head_dim": size.head_dim,
            "attention_bias": size.attention_bias,
            "rms_norm_eps": size.rms_eps,
            "max_position_embeddings": size.context,
            "rope_parameters": dict(size.rope),
            "sliding_window": size.window,
            "eta": eta,
            "tie_word_embeddings": size.tied,
        },
        vision_config={
            "hidden_size": size.vision.hidden,
            "num_hidden_layers": size.vision.layers,
            "num_attention_heads": size.vision.heads,
            "intermediate_size": size.vision.intermediate,
            "image_size": size.vision.image,
            "patch_size": size.vision.patch,
        },
        image_token_id=size.image_token,
        max_tiles=size.max_tiles,
        tie_word_embeddings=size.tied,
        eos_token_id=size.special_tokens[size.end],
        pad_token_id=size.special_tokens[size.pad],
    )


def write_random(
    size: Size,
    out: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
    eta: float = RELEASED_ETA,
    force: bool = False,
    shard_bytes: int = SHARD_BYTES,
    begin: Callable[[int], Progress] = lambda _: lambda _: None,
) -> None:
    """Write a checkpoint of ``size`` in our layout, random weights and a small tokenizer, shard by shard.

    The same ``seed`` gives the same bytes, however the shards are cut. ``begin`` as in ``convert``.
    """
    config = config_of(size, eta)
    config.dtype = dtype
    planned = [
        Planned(name, shape, dtype, partial(random_tensor, name, shape, dtype, seed))
        for name, shape in our_shapes(config).items()
    ]
    total = sum(tensor.bytes for tensor in planned)
    with whole_folder(out, force=force, bytes_needed=total) as folder:
        write_shards(folder, planned, shard_bytes=shard_bytes, progress=begin(total))
        save_config(config, folder)
        save_processor(size, config, folder)


def random_tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Weights that keep activations of order one: norms and LayerScale constant, matrices normal / sqrt(fan in)."""
    constant = _constant(name)
    if constant is not None:
        return torch.full(shape, constant, dtype=dtype)
    is_embedding = "embed" in name and "patch" not in name
    std = 0.02 if is_embedding else torch.Size(shape[1:]).numel() ** -0.5
    generator = torch.Generator().manual_seed(crc32(f"{seed} {name}".encode()))  # it uses the low 32 bits only
    tensor = torch.empty(shape, dtype=dtype)
    for block in torch.split(tensor.view(-1), BLOCK_ELEMENTS):
        block.copy_(torch.randn(block.shape, generator=generator).mul_(std))
    return tensor


def _constant(name: str) -> float | None:
    if name.endswith(".bias"):
        return 0.0
    if name.endswith((".ls1", ".ls2")):
        return 0.1
    return 1.0 if "norm" in name else None

"""Checkpoints of the real shapes with random weights: to measure size and speed without the weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor

from phantom_edge.checkpoint.convert import _write_config as write_config
from phantom_edge.checkpoint.loading import our_shapes
from phantom_edge.checkpoint.writing import SHARD_BYTES, Planned, Progress, write_shards
from phantom_edge.files import whole_folder
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.sizes import Size

BLOCK_ELEMENTS = 1 << 24
"""Random numbers are drawn in float32 blocks of this many, so that a large table needs no second copy."""


def config_of(size: Size, eta: float) -> PhantomConfig:
    """The config of a known size."""
    text: dict[str, Any] = {
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
    }
    vision = {
        "hidden_size": size.vision.hidden,
        "num_hidden_layers": size.vision.layers,
        "num_attention_heads": size.vision.heads,
        "intermediate_size": size.vision.intermediate,
        "image_size": size.vision.image,
        "patch_size": size.vision.patch,
    }
    return PhantomConfig(
        family=size.family,
        text_config=text,
        vision_config=vision,
        image_token_id=size.image_token,
        max_tiles=size.max_tiles,
        tie_word_embeddings=size.tied,
        eos_token_id=size.end_token,
        pad_token_id=size.pad_token,
    )


def write_random(
    size: Size,
    out: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float16,
    eta: float,
    official: bool = False,
    force: bool = False,
    shard_bytes: int = SHARD_BYTES,
    begin: Callable[[int], Progress] = lambda _: lambda _: None,
) -> None:
    """Write a checkpoint of ``size`` with random weights and a small tokenizer, shard by shard.

    The same ``seed`` gives the same bytes, whatever the layout of the shards. ``begin`` as in ``convert``.
    """

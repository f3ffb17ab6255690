"""Rotary tables as constants: one row for each position of a bundle's context."""

import torch
from torch import Tensor

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.rope import rotary_tables


def constant_length(config: PhantomTextConfig) -> int | None:
    """Longest prompt for which rotation is independent of the prompt's length; None where it always is."""
    rope = config.rope_parameters
    assert rope is not None
    match rope.get("rope_type", "default"):
        case "dynamic":
            return config.max_position_embeddings
        case "longrope":
            return int(rope["original_max_position_embeddings"])
        case _:
            return None


def constant_tables(config: PhantomTextConfig, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (positions, head_dim / 2): row p is the model's rotation of position p in every prompt.

    Raises EdgeError for more positions than ``constant_length`` (dynamic NTK, longrope).
    """
    longest = constant_length(config)
    if longest is not None and positions > longest:
        raise EdgeError(
            f"past {longest:,} tokens this model's rotation depends on the prompt's length, so "
            f"{positions:,} positions have no constant tables",
            f"give --max-context {longest} or less",
        )
    half = config.head_dim // 2
    cosines, sines = rotary_tables(config, torch.arange(positions)[None])
    return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()

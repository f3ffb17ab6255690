"""Frequencies of rotary positions as constants: graphs take their cosines themselves.

A table in the graph would be looked up by an operator that LiteRT-LM's engine for GPUs does not survive.
"""

import torch
from torch import Tensor

from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.rope import ROPE_KINDS


def constant_frequencies(config: PhantomTextConfig, positions: int) -> tuple[Tensor, float]:
    """Radians a position (head_dim / 2,), and the factor on cosines and sines, for prompts of up to ``positions``.

    Raises EdgeError as ``constant_tables`` does.
    """
    constant_tables(config, positions)
    rope = config.rope_parameters
    assert rope is not None
    frequencies, scale = ROPE_KINDS[rope.get("rope_type", "default")](config, rope, torch.tensor([[positions]]))
    return frequencies[0], scale

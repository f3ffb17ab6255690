"""Frequencies of rotary positions as constants: graphs take their cosines themselves.

A table in the graph would be looked up by an operator that LiteRT-LM's engine for GPUs does not survive.
"""

import numpy as np
import torch
from torch import Tensor

from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.litert.graph import Value
from phantom_edge.export.targets.litert.operators import Operators
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


def turns(graph: Operators, places: Value, config: PhantomTextConfig, positions: int) -> tuple[Value, Value]:
    """Draws cosines and sines (1, 1, N, head_dim), the sines of the first half negative, at ``places`` (1, 1, N, 1)."""
    frequencies, scale = constant_frequencies(config, positions)
    angles = graph.mul(places, graph.held("frequencies", frequencies.reshape(1, 1, 1, -1)))
    cosines, sines = graph.cosine(angles), graph.sine(angles)
    if scale != 1:
        factor = graph.held("rotary_scale", np.full((1, 1, 1, 1), scale))
        cosines, sines = graph.mul(cosines, factor), graph.mul(sines, factor)
    minus = graph.mul(sines, graph.held("minus", np.full((1, 1, 1, 1), -1)))
    return graph.concat([cosines, cosines], -1), graph.concat([minus, sines], -1)

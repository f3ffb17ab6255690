"""Golden vectors: inputs and the checkpoint's outputs, against which a runner checks its engines."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.targets.target import Settings
from phantom_edge.reference import Reference

GOLDEN = "golden.npz"
DECODED = 4
"""Number of tokens that are decoded one by one, after two chunks."""


def write_golden(source: Source, settings: Settings, done: Callable[[], None], folder: Path) -> None:
    """Writes a tile and its image tokens, and logits of a prompt in two chunks (the second not full) and later tokens.

    ``done`` is called after each layer.
    """
    config, random = source.config, np.random.default_rng(0)
    reference = Reference(source)
    size = config.vision.image_size
    pixels = random.normal(size=(1, 3, size, size)).astype(np.float16)
    seen = reference.image_tokens(torch.from_numpy(pixels).float())
    reference.release_vision()
    sizes = sizes_of(settings.prefill_chunk, settings.max_context)
    ids = random.integers(0, config.text.vocab_size, sum(sizes))
    ids[0] = source.first_token()
    embeds = reference.embed(torch.from_numpy(ids)).half()
    (hidden,) = reference.hidden([embeds.float()], done)
    logits = reference.logits(hidden[torch.tensor(sizes).cumsum(0) - 1])
    np.savez(
        folder / GOLDEN,
        pixel_values=pixels,
        image_tokens=seen.numpy(),
        inputs_embeds=embeds.numpy(),
        sizes=np.array(sizes),
        logits=logits.numpy(),
    )


def sizes_of(chunk: int, context: int) -> list[int]:
    """Returns the number of tokens per step: two chunks as far as the cache holds them, then one by one."""
    room = context - DECODED
    found = [min(chunk, room), min(max(chunk // 2, 1), room - min(chunk, room))]
    return [size for size in found if size] + [1] * DECODED

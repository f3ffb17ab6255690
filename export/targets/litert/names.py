"""Names of parts, signatures and ports: those of the decoder are the ones that LiteRT-LM looks for."""

from typing import Literal

CHUNK = "chunk"
"""Part that reads a chunk of a prompt; ``decoder`` reads one token."""

FIRST = "first_"
"""Beginning of the ends of their names where parts attend to the first rows of the caches alone: ``decoder_first_256``
and ``chunk_first_256``."""

Compute = Literal["cpu", "gpu", "npu"]
"""Processor that graphs are drawn for. Those for NPUs only read the caches: their new rows are outputs, and auxiliary
graphs on the CPU compute masks and rotations, and write the rows."""

ENCODE, LOOK_UP, DECODE = "encode", "look_up", "decode"
IMAGES, IMAGE_TOKENS, IDS = "images", "image_tokens", "token_ids"
EMBEDS, POSITIONS, MASK, LOGITS = "embeddings", "input_pos", "mask", "logits"
CACHE, SLICE = "kv_cache_", "kv_slice_"
"""Beginnings of the names of caches, and of new rows."""

AROUND, COSINES, SINES = "mask_global", "pos_emb_cos", "pos_emb_sin"
TIME, TOKENS = "time_step", "input_tokens"
MASKING, TURNING, UPDATING = "mask", "rope", "update"
"""Parts of auxiliary graphs of one token; those of a chunk begin with ``chunk_``."""

AUXILIARY = {MASKING: "mask", TURNING: "rope", UPDATING: "cache_update"}
"""Ends of their signatures' names."""


def chunk_name(tokens: int) -> str:
    """Returns the signature that reads a chunk of a prompt."""
    return f"prefill_{tokens}"


def firsts_of(context: int) -> tuple[int, ...]:
    """Returns how many first rows of the caches graphs read that are for the beginning of a conversation.

    A graph's cost grows with all rows of its caches, filled or not: most answers come from the first few hundred.
    """
    return tuple(256 << place for place in range(16) if 256 << place < context)


def first_name(rows: int, tokens: int) -> str:
    """Returns the signature that reads the first rows alone: a name that LiteRT-LM's engine does not look for."""
    return f"{FIRST}{rows}_{DECODE if tokens == 1 else chunk_name(tokens)}"


def cache_names(layer: int, start: str = CACHE) -> tuple[str, str]:
    """Returns the ports of a layer's keys and values."""
    return f"{start}k_{layer}", f"{start}v_{layer}"


def auxiliary_name(end: str, tokens: int) -> str:
    """Returns the signature of an auxiliary graph."""
    return f"{DECODE}_{end}" if tokens == 1 else f"prefill_{end}_{tokens}"

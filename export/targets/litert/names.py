"""Names of parts, signatures and ports: those of the decoder are the ones that LiteRT-LM looks for."""

CHUNK = "chunk"
"""Part that reads a chunk of a prompt; ``decoder`` reads one token."""

ENCODE, LOOK_UP, DECODE = "encode", "look_up", "decode"
IMAGES, IMAGE_TOKENS, IDS = "images", "image_tokens", "token_ids"
EMBEDS, POSITIONS, MASK, LOGITS = "embeddings", "input_pos", "mask", "logits"
CACHE = "kv_cache_"
"""Beginning of the caches' names."""


def chunk_name(tokens: int) -> str:
    """Returns the signature that reads a chunk of a prompt."""
    return f"prefill_{tokens}"


def cache_names(layer: int) -> tuple[str, str]:
    """Returns the ports of a layer's keys and values."""
    return f"{CACHE}k_{layer}", f"{CACHE}v_{layer}"

"""Bytes and multiply-adds of a bundle, counted from its manifest."""

from dataclasses import dataclass

from phantom_edge.bundle.manifest import Manifest
from phantom_edge.bundle.part import Part

LAYERED = ("decoder", "text_decoder")
VISION = ("vision", "vision_encoder")
"""Names of the part that reads tokens, and of the one that encodes pictures."""


@dataclass(frozen=True)
class Work:
    """Bytes of weights, and multiply-adds: of one token without its cache, and of one tile.

    Weights that several parts share count once.
    """

    decoder_bytes: int
    vision_bytes: int
    decoder_products: int
    vision_products: int
    cache_bytes_per_token: int
    cache_products_per_token: int

    def token_bytes(self, context: int) -> int:
        """Bytes read for one token after ``context`` cached ones: every weight, and the cache."""
        return self.decoder_bytes + context * self.cache_bytes_per_token

    def token_products(self, context: int) -> int:
        """Multiply-adds of one token after ``context`` cached ones."""
        return self.decoder_products + context * self.cache_products_per_token


def work_of(manifest: Manifest) -> Work:
    """Bytes and multiply-adds of a bundle."""
    vision, decoder = (_part(manifest, names) for names in (VISION, LAYERED))
    cache, model = manifest.cache, manifest.model
    groups = model.heads // model.kv_heads
    widths = sum(cache.key_widths) + sum(cache.value_widths)
    return Work(
        decoder_bytes=sum(first_form(decoder.weight_bytes).values()),
        vision_bytes=sum(vision.weight_bytes.values()),
        decoder_products=numbers_of(decoder.weight_bytes),
        vision_products=numbers_of(vision.weight_bytes) * (manifest.pictures.tokens_per_tile * 4 + 1),
        cache_bytes_per_token=cache.bytes_per_token,
        cache_products_per_token=widths * model.kv_heads * groups,
    )


def _part(manifest: Manifest, names: tuple[str, ...]) -> Part:
    return next(part for name, part in manifest.parts.items() if name in names)


BITS = {"int3": 4, "int4": 4} | dict.fromkeys(("int8", "uint8"), 8) | dict.fromkeys(("int16", "uint16"), 16)
BITS |= {"float16": 16, "bfloat16": 16, "float32": 32}


SECOND_FORM = "int8 for prompts"
"""Number format of bytes that hold weights once more, which only prompts read."""


def first_form(weight_bytes: dict[str, int]) -> dict[str, int]:
    """Returns bytes by number format of the weights that every token reads."""
    return {kind: size for kind, size in weight_bytes.items() if kind != SECOND_FORM}


def numbers_of(weight_bytes: dict[str, int]) -> int:
    """Returns the number of weights; each is multiplied once per token."""
    return sum(size * 8 // BITS.get(kind, 32) for kind, size in first_form(weight_bytes).items())

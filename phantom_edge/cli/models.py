"""``phantom-edge models``: the known sizes, with parameters and memory counted."""

from typing import Annotated, Any

from phantom_edge.cli.console import JsonOption, friendly, print_json, print_table
from phantom_edge.models.sizes import SIZES, Size

BYTES = {"fp16": 2.0, "int8": 1.0, "int4": 0.5}
"""Bytes of a weight, without scales and zero points of quantized weights (int4, group 32: 12.5 % more)."""


def describe(size: Size) -> dict[str, Any]:
    """Returns one size as plain numbers: shapes, parameters by part, bytes of weights and of cache."""
    parts = size.parameters()
    total = sum(parts.values())
    return {
        "name": size.name,
        "backbone": size.backbone,
        "family": size.family,
        "hidden_size": size.hidden,
        "layers": size.layers,
        "heads": size.heads,
        "kv_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "vocab_size": size.vocab,
        "context_tokens": size.context,
        "tile_pixels": size.vision.image,
        "tokens_per_tile": size.tokens_per_tile,
        "max_tiles": size.max_tiles,
        "parameters": parts,
        "parameters_total": total,
        "weight_bytes": {name: int(total * width) for name, width in BYTES.items()},
        "kv_bytes_per_token_fp16": size.kv_bytes_per_token(),
    }


@friendly
def models(json: Annotated[bool, JsonOption] = False) -> None:
    """Show the known sizes: shapes, parameters by part, memory, cache bytes per token."""
    known = [describe(size) for size in SIZES.values()]
    if json:
        print_json({"models": known})
        return
    print_table(
        "Shapes",
        (
            "size",
            "backbone",
            "hidden",
            "layers",
            "heads / kv",
            "head dim (doubled)",
            "vocabulary",
            "context",
            "tokens a tile",
        ),
        [
            (
                size["name"],
                size["backbone"],
                f"{size['hidden_size']:,}",
                str(size["layers"]),
                f"{size['heads']} / {size['kv_heads']}",
                f"{size['head_dim']} ({2 * size['head_dim']})",
                f"{size['vocab_size']:,}",
                f"{size['context_tokens']:,}",
                str(size["tokens_per_tile"]),
            )
            for size in known
        ],
    )
    parts = ("vision", "projector", "embedding", "decoder", "phantom", "head")
    print_table(
        "Parameters, millions",
        ("size", *parts, "total"),
        [
            (
                size["name"],
                *(f"{size['parameters'][part] / 1e6:,.1f}" for part in parts),
                f"{size['parameters_total'] / 1e6:,.1f}",
            )
            for size in known
        ],
        note="head 0.0: shares the embedding's weights",
    )
    print_table(
        "Memory",
        ("size", *(f"weights {name}, MB" for name in BYTES), "cache fp16, KB a token"),
        [
            (
                size["name"],
                *(f"{size['weight_bytes'][name] / 1e6:,.0f}" for name in BYTES),
                f"{size['kv_bytes_per_token_fp16'] / 1e3:,.1f}",
            )
            for size in known
        ],
        note="quantized weights without their scales; the cache with doubled heads",
    )

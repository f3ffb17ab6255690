"""Names of a checkpoint's tensors, part by part."""

import re

DECODER = "model.language_model."
TOWER, PROJECTOR = "model.vision_tower.", "model.projector."
HEAD, EMBEDDING = "lm_head.weight", "model.language_model.embed_tokens.weight"

PARTS = {
    "vision": r"model\.vision_tower\..*",
    "projector": r"model\.projector\..*",
    "embedding": r"model\.language_model\.embed_tokens\..*",
    "decoder": r"model\.language_model\.layers\..*\.(q|k|v|o|gate|up|down)_proj\.weight",
    "head": r"lm_head\..*",
}
"""Name patterns of each part's weights. The phantom maps and gates belong to none: they are small and influential, and
the paper leaves them alone, too (section 4). A tied head is the embedding."""

STATIC = ("vision", "projector")
"""Parts whose inputs may have fixed scales: a decoder's inputs differ too much from token to token."""

PHANTOM = re.compile(r".*\.phantom_(query|key|value)\..*")


def part_of(name: str) -> str:
    """Part of a weight, empty for none."""
    if PHANTOM.fullmatch(name):
        return ""
    return next((part for part, pattern in PARTS.items() if re.fullmatch(pattern, name)), "")

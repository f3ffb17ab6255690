"""Chips with NPUs that LiteRT 2.3 compiles for: their makers, and the packages with the makers' compilers."""

from dataclasses import dataclass

APACHE = "LiteRT's plugin is under Apache-2.0; the compiler is under its maker's terms, which its package shows."


@dataclass(frozen=True)
class Maker:
    """A maker of chips.

    ``module`` is the maker's module in ``ai_edge_litert.aot.vendors``, ``package`` brings the compiler. ``terms`` are
    what to know about licences, with their ``source``.
    """

    name: str
    module: str
    package: str
    terms: str
    source: str = ""


MEDIATEK = Maker("MediaTek", "mediatek", "ai-edge-litert-sdk-mediatek", APACHE)
GOOGLE = Maker(
    "Google",
    "google_tensor",
    "ai-edge-litert-sdk-google-tensor",
    "Google's terms forbid to distribute what this compiler makes without written authorization, and to publish "
    "measurements of its performance: read them before you ship or publish.",
    "https://github.com/google-ai-edge/LiteRT/blob/main/litert/vendors/google_tensor/compiler/TERMS_OF_USE.md",
)
SAMSUNG = Maker("Samsung", "samsung", "ai-edge-litert-sdk-samsung", APACHE)
QUALCOMM = Maker("Qualcomm", "qualcomm", "ai-edge-litert-sdk-qualcomm", APACHE)

MODELS: dict[Maker, tuple[str, ...]] = {
    MEDIATEK: (
        *("MT6853", "MT6877", "MT6878", "MT6879", "MT6886", "MT6893", "MT6895", "MT6897", "MT6983", "MT6985"),
        *("MT6989", "MT6991", "MT6993", "MT8171", "MT8188", "MT8189"),
    ),
    GOOGLE: ("Tensor_G3", "Tensor_G4", "Tensor_G5", "Tensor_G6"),
    SAMSUNG: ("E9965",),
    QUALCOMM: (*("SA8255", "SA8295", "SM8350", "SM8450", "SM8475", "SM8550", "SM8650", "SM8750", "SM8845", "SM8850"),),
}
"""Names of chips in LiteRT, by maker."""


@dataclass(frozen=True)
class Chip:
    """A chip, by LiteRT's own name."""

    maker: Maker
    model: str


CHIPS: dict[str, Chip] = {
    model.lower().replace("_", "-"): Chip(maker, model) for maker, models in MODELS.items() for model in models
}
"""Chips by their names in ``--chip``."""

"""``phantom.json``: everything that a program needs to run a bundle, and its proof."""

from dataclasses import dataclass, field
from typing import Any, Literal

from phantom_edge.bundle.cache import Cache
from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.numbers import MOST_TOKENS, Number, check_rules
from phantom_edge.bundle.part import File, Part, Port
from phantom_edge.bundle.proof import Proof

SCHEMA_VERSION = 2
MANIFEST = "phantom.json"
FIXED_PARTS = ("prefill", "head")
"""Parts beside ``decoder`` where graphs have fixed shapes."""


@dataclass(frozen=True)
class Pictures:
    """Tiling and normalization of pictures."""

    tile_size: int
    min_tiles: int
    max_tiles: int
    thumbnail: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens_per_tile: int

    def __post_init__(self) -> None:
        check_rules(
            tile_size=0 < self.tile_size <= 2**14,
            tiles=0 < self.min_tiles <= self.max_tiles <= 1024,
            tokens_per_tile=0 < self.tokens_per_tile <= MOST_TOKENS // max(self.max_tiles, 1),
            mean=len(self.mean) == 3,
            std=len(self.std) == 3 and all(one > 0 for one in self.std),
        )


@dataclass(frozen=True)
class Prompt:
    """Tokenization. Every prompt must begin with ``first_token``, which is folded into the graph."""

    tokenizer: str
    chat_template: str
    first_token: int
    image_token: int
    stop_tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        check_rules(stop_tokens=bool(self.stop_tokens))


@dataclass(frozen=True)
class Phantom:
    """The phantom dimension in one layer: ranks kept, and bounds on the error from leaving out the rest.

    ``logit_error`` bounds an attention logit, ``value_error`` a value relative to its norm: for all inputs where
    ``is_proved``, else for the sampled points of the phantom surface.
    """

    key_rank: int
    value_rank: int
    logit_error: float
    value_error: float
    is_proved: bool


@dataclass(frozen=True)
class Model:
    """The exported checkpoint: its name, a SHA-256 over its config and weights, and its shape."""

    name: str
    fingerprint: str
    family: str
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    eta: float


@dataclass(frozen=True)
class Integers:
    """Origin of a quantized model: recipe, algorithm, and number of weights of each scheme."""

    recipe: str
    algorithm: str
    weights: dict[str, int]


UNSEALED = "0" * 64


@dataclass(frozen=True)
class Manifest:
    """A bundle. ``proof`` is None where the bundle was never compared with its model: *unverified*.

    ``integers`` is None where no weight is quantized, ``embedding`` where the part of that name does the look-up.
    ``facts`` are the target's own: a union that ``target`` tags, and that the target's room reads.

    ``seal`` is the SHA-256 of the manifest's own file, with 64 zeros in place of the seal.
    """

    schema_version: Literal[2]
    made_by: str
    target: str
    model: Model
    parts: dict[str, Part]
    embedding: Embedding | None
    cache: Cache
    pictures: Pictures
    prompt: Prompt
    phantom: tuple[Phantom, ...]
    prefill_chunk: int
    tools: dict[str, str]
    files: dict[str, File]
    seal: str
    integers: Integers | None = None
    proof: Proof | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """ValueError where two places contradict each other."""
        model, table, cache, prompt = self.model, self.embedding, self.cache, self.prompt
        tokens = (prompt.first_token, prompt.image_token, *prompt.stop_tokens)
        buffers = cache.buffers()
        check_rules(
            parts={"vision", "decoder", *(FIXED_PARTS if self.has_fixed_shapes else ())} <= self.parts.keys()
            and (table is not None or "embedding" in self.parts),
            prefill_chunk=0 < self.prefill_chunk <= cache.max_context,
            embedding=table is None
            or (
                (table.rows, table.width) == (model.vocab_size, model.hidden_size)
                and (table.file not in self.files or table.end <= self.files[table.file].bytes)
            ),
            cache=(cache.layers, cache.kv_heads) == (model.layers, model.kv_heads)
            and len(self.phantom) == cache.layers
            and all(
                (key, value) in _widths(model.head_dim, layer)
                for layer, key, value in zip(self.phantom, cache.key_widths, cache.value_widths, strict=False)
            ),
            prompt=all(0 <= token < model.vocab_size for token in tokens),
            ports=self.has_fixed_shapes
            or all(_fits(port, self, buffers) for part in self.parts.values() for port in part.inputs + part.outputs),
        )

    @property
    def has_fixed_shapes(self) -> bool:
        """True where several parts of fixed shapes stand for one decoder; see ``FixedShapes``."""
        return any(part in self.parts for part in FIXED_PARTS)

    @property
    def verified(self) -> bool:
        """True where it was compared with its model, and every bound was kept."""
        return self.proof is not None and self.proof.passed


def _widths(dim: int, layer: Phantom) -> tuple[tuple[int, int], ...]:
    """Possible widths of a layer's keys and values: their own, or for both the larger."""
    own = dim + layer.key_rank, dim + layer.value_rank
    return own, (max(own), max(own))


def _fits(port: Port, manifest: Manifest, buffers: dict[str, tuple[int, Number]]) -> bool:
    """True unless a port's width contradicts the rest of the manifest."""
    cache, hidden = manifest.cache, manifest.model.hidden_size
    widths = {
        **dict.fromkeys(("pixel_values", "pixels"), (3, manifest.pictures.tile_size, manifest.pictures.tile_size)),
        "image_tokens": (hidden,),
        "inputs_embeds": (hidden,),
        "logits": (manifest.model.vocab_size,),
    }
    when, _, buffer = port.name.partition("_")
    if when in ("past", "new"):
        return buffers.get(buffer) == (*port.shape[1:], port.dtype)
    if port.name not in widths:
        return True
    width = widths[port.name]
    is_fitting = port.shape[1:] == width or (port.shape[:1] == (1,) and port.shape[2:] == width)
    return is_fitting and port.dtype == ("uint8" if port.name == "pixels" else cache.dtype)

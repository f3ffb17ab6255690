"""``phantom.json``: everything that a program needs to run a bundle."""

from dataclasses import dataclass, field
from typing import Any, Literal

from phantom_edge.bundle.cache import Cache
from phantom_edge.bundle.embedding import Embedding
from phantom_edge.bundle.numbers import Number, check_rules
from phantom_edge.bundle.part import File, Part, Port
from phantom_edge.bundle.pictures import Pictures
from phantom_edge.bundle.prompt import Generation, Prompt

SCHEMA_VERSION = 2
MANIFEST = "phantom.json"
FIXED_PARTS = ("prefill", "head")
"""Parts beside ``decoder`` where graphs have fixed shapes."""
DRAFT = "draft"
"""Part that a draft layer becomes."""


@dataclass(frozen=True)
class Phantom:
    """The phantom dimension in one layer: ranks kept, and bounds on the error from leaving out the rest."""

    key_rank: int
    """Numbers of a key's phantom part."""
    value_rank: int
    """Numbers of a value's phantom part."""
    logit_error: float
    """Bound on the error of an attention logit."""
    value_error: float
    """Bound on the error of a value, as a share of its norm."""
    is_proved: bool
    """True where the bounds hold for all inputs, else for the sampled points of the phantom surface."""


@dataclass(frozen=True)
class Model:
    """The exported checkpoint: its name, its shape, and what its model card says."""

    name: str
    """Name of the checkpoint: a hub id, or a folder's own name without its place on the exporting machine."""
    fingerprint: str
    """SHA-256 over its config and weights, in hexadecimal."""
    family: str
    """Family of its backbone."""
    hidden_size: int
    """Numbers of a token's embedding."""
    layers: int
    """Number of the decoder's layers."""
    heads: int
    """Number of query heads of a layer."""
    kv_heads: int
    """Number of kv heads of a layer."""
    head_dim: int
    """Numbers of a head without its phantom part."""
    vocab_size: int
    """Number of token ids; logits have as many numbers."""
    eta: float
    """Factor on the phantom branch, a pure number."""
    license: str | None
    """Licence of the weights, an SPDX identifier where there is one; null where the checkpoint states none."""
    uses: str | None
    """Intended use, by the model card; null where it states none."""
    out_of_scope: str | None
    """Uses that the model card excludes; null where it states none."""
    card: str | None
    """File of the model card, Markdown; null where the checkpoint has none."""


@dataclass(frozen=True)
class Integers:
    """Origin of a quantized model."""

    recipe: str
    """Name of the recipe."""
    algorithm: str
    """Name of the algorithm that chose the integers."""
    weights: dict[str, int]
    """Number of weights by scheme."""


UNSEALED = "0" * 64


@dataclass(frozen=True)
class Manifest:
    """A bundle: everything that a program needs to run it, beside the files that it lists."""

    schema_version: Literal[2]
    """Version of this format, a whole number."""
    made_by: str
    """Program and version that wrote the bundle."""
    target: str
    """Name of the runtime for which the graphs were made; it determines the form of ``facts``."""
    model: Model
    """The checkpoint."""
    parts: dict[str, Part]
    """Graphs by name. ``vision``: a tile to image tokens. ``decoder``: rows of embeddings to logits. ``embedding``,
    where ``embedding`` is null: token ids to rows. ``prefill`` and ``head``, where shapes are fixed: a chunk of rows to
    hidden states, and one of these to logits. ``draft``, where the checkpoint has a draft layer: a hidden state of the
    decoder and the row of the token that it predicted to the ids that may follow, for the decoder to verify; a reader
    may ignore it."""
    embedding: Embedding | None
    """The table from which a program reads rows of embeddings; null where the part of that name does the look-up."""
    cache: Cache
    """The cache of keys and values."""
    pictures: Pictures
    """Rules from a picture to tiles."""
    prompt: Prompt
    """Rules from a conversation to token ids."""
    generation: Generation
    """Settings for choosing the next token."""
    phantom: tuple[Phantom, ...]
    """The phantom dimension by layer."""
    prefill_chunk: int
    """Most tokens of a prompt that are fed to the decoder at once, in tokens."""
    tools: dict[str, str]
    """Versions of the packages that made the files."""
    files: dict[str, File]
    """Every file of the bundle but ``phantom.json`` and ``proof.json``, by its path inside the folder."""
    seal: str
    """SHA-256 of this file, in hexadecimal, with 64 zeros in place of the seal."""
    golden: str | None
    """File of inputs and expected outputs for self-tests, which has a schema of its own; null in bundles of an older
    format."""
    integers: Integers | None = None
    """Origin of the integers; null where no weight is quantized."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts of the target alone."""

    def __post_init__(self) -> None:
        """ValueError where two places contradict each other."""
        model, table, cache, prompt = self.model, self.embedding, self.cache, self.prompt
        suppressed = (*self.generation.suppress_tokens, *self.generation.begin_suppress_tokens)
        tokens = (prompt.first_token, prompt.image_token, *prompt.stop_tokens, *suppressed)
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
            and cache.plain_width == model.head_dim
            and len(self.phantom) == cache.layers
            and all(
                (key, value) in _widths(model.head_dim, layer)
                for layer, key, value in zip(self.phantom, cache.key_widths, cache.value_widths, strict=False)
            ),
            draft=DRAFT not in self.parts
            or ("decoder" in self.parts and _has(self.parts["decoder"].outputs, "hidden")),
            prompt=all(0 <= token < model.vocab_size for token in tokens),
            special_tokens=all(0 <= token < model.vocab_size for token in prompt.special_tokens.values()),
            ports=self.has_fixed_shapes
            or all(_fits(port, self, buffers) for part in self.parts.values() for port in part.inputs + part.outputs),
            first_row=cache.first_row is None
            or cache.first_row.file not in self.files
            or self.files[cache.first_row.file].bytes == cache.bytes_per_token,
        )

    @property
    def has_fixed_shapes(self) -> bool:
        """True where several parts of fixed shapes stand for one decoder; see ``FixedShapes``."""
        return any(part in self.parts for part in FIXED_PARTS)


def _widths(dim: int, layer: Phantom) -> tuple[tuple[int, int], ...]:
    """Possible widths of a layer's keys and values: their own, or for both the larger."""
    own = dim + layer.key_rank, dim + layer.value_rank
    return own, (max(own), max(own))


def _has(ports: tuple[Port, ...], name: str) -> bool:
    """True where one of the ports has this name."""
    return any(port.name == name for port in ports)


def _fits(port: Port, manifest: Manifest, buffers: dict[str, tuple[int, Number]]) -> bool:
    """True unless a port's width contradicts the rest of the manifest."""
    cache, hidden = manifest.cache, manifest.model.hidden_size
    widths = {
        **dict.fromkeys(("pixel_values", "pixels"), (3, manifest.pictures.tile_size, manifest.pictures.tile_size)),
        "image_tokens": (hidden,),
        "inputs_embeds": (hidden,),
        "logits": (manifest.model.vocab_size,),
        "hidden": (hidden,),
    }
    when, _, buffer = port.name.partition("_")
    if when in ("past", "new"):
        return buffers.get(buffer) == (*port.shape[1:], port.dtype)
    if port.name not in widths:
        return True
    width = widths[port.name]
    is_fitting = port.shape[1:] == width or (port.shape[:1] == (1,) and port.shape[2:] == width)
    return is_fitting and port.dtype == ("uint8" if port.name == "pixels" else cache.dtype)

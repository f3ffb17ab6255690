"""``phantom.json``: all that a program must know to run a bundle, and what was proved about it."""

import re
from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1
MANIFEST = "phantom.json"

Number = Literal["float32", "float16", "int64"]
BYTES = {"float32": 4, "float16": 2, "int64": 8}

RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS = "relative error", "absolute error", "divergence, nats", "other tokens"
"""What a check measures: the largest difference over the largest magnitude, that difference, mean KL divergence of the
next-token distributions, and the share of positions whose likeliest token is another."""


@dataclass(frozen=True)
class File:
    """A file of the bundle: size in bytes and SHA-256."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.bytes < 0 or not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 or bytes is impossible")


@dataclass(frozen=True)
class Port:
    """An input or output of a part. A dimension is a number, or a name where it may differ from run to run."""

    name: str
    shape: tuple[int | str, ...]
    dtype: Number


@dataclass(frozen=True)
class Part:
    """A graph: its file, the files that hold its weights, and what goes in and out.

    ``operators`` counts its nodes by kind, ``weight_bytes`` its weights by number format.
    """

    file: str
    weights: tuple[str, ...]
    precision: Literal["fp32", "fp16"]
    operators: dict[str, int]
    weight_bytes: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Embedding:
    """The table of token embeddings, rows one after another in ``file`` from ``offset`` on; the head may share it."""

    file: str
    offset: int
    rows: int
    width: int
    dtype: Number


@dataclass(frozen=True)
class Cache:
    """The cache of keys and values: one buffer for keys and one for values, for each layer and kv head.

    A token takes a row of ``key_widths[layer]`` and ``value_widths[layer]`` numbers.
    """

    layers: int
    kv_heads: int
    key_widths: tuple[int, ...]
    value_widths: tuple[int, ...]
    dtype: Number
    max_context: int

    def __post_init__(self) -> None:
        if not (len(self.key_widths) == len(self.value_widths) == self.layers):
            raise ValueError("key_widths or value_widths has not one width for each layer")

    @property
    def bytes_per_token(self) -> int:
        """Size of all rows of one token."""
        return self.kv_heads * (sum(self.key_widths) + sum(self.value_widths)) * BYTES[self.dtype]


@dataclass(frozen=True)
class Pictures:
    """How pictures are cut into tiles and normalized."""

    tile_size: int
    min_tiles: int
    max_tiles: int
    thumbnail: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens_per_tile: int


@dataclass(frozen=True)
class Prompt:
    """How text becomes tokens. Every prompt must begin with ``first_token``, which is folded into the graph."""

    tokenizer: str
    chat_template: str
    first_token: int
    image_token: int
    stop_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Phantom:
    """What became of the phantom dimension in one layer: ranks kept, and what leaving the rest out may change.

    ``logit_error`` bounds an attention logit, ``value_error`` a value relative to its norm: for all inputs where
    ``is_proved``, else for the points of the phantom surface that were looked at.
    """

    key_rank: int
    value_rank: int
    logit_error: float
    value_error: float
    is_proved: bool


@dataclass(frozen=True)
class Check:
    """One comparison with the reference model: what was measured, and the bound that it had to keep, if any."""

    stage: Literal["vision", "prefill", "decode"]
    case: str
    measure: Literal["relative error", "absolute error", "divergence, nats", "other tokens"]
    value: float
    bound: float | None

    @property
    def passed(self) -> bool:
        """Whether it kept the bound; a NaN does not."""
        return self.bound is None or self.value <= self.bound

    def text(self) -> str:
        """In words, for a message."""
        bound = "" if self.bound is None else f", bound {self.bound:.1e}"
        return f"{self.stage} of '{self.case}': {self.measure} {self.value:.1e}{bound}"


@dataclass(frozen=True)
class Proof:
    """A comparison with the checkpoint. ``left_out`` names the cases that did not fit into the cache."""

    checks: tuple[Check, ...]
    left_out: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every bound was kept."""
        return bool(self.checks) and all(check.passed for check in self.checks)


@dataclass(frozen=True)
class Model:
    """Which checkpoint this was: its name, a SHA-256 over its config and weights, and its shape."""

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
class Manifest:
    """A bundle. ``proof`` is None where the bundle was never compared with its model: *unverified*."""

    schema_version: Literal[1]
    made_by: str
    target: str
    model: Model
    parts: dict[str, Part]
    embedding: Embedding
    cache: Cache
    pictures: Pictures
    prompt: Prompt
    phantom: tuple[Phantom, ...]
    prefill_chunk: int
    tools: dict[str, str]
    files: dict[str, File]
    proof: Proof | None = None

    @property
    def verified(self) -> bool:
        """Whether it was compared with its model, and every bound was kept."""
        return self.proof is not None and self.proof.passed

"""``phantom.json``: all that a program must know to run a bundle, and what was proved about it."""

import re
from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1
MANIFEST = "phantom.json"

Float = Literal["float32", "float16"]
Kept = Literal["float32", "float16", "int16"]
Number = Literal["float32", "float16", "int16", "int64", "int32", "int8", "uint8"]
BYTES = {"float32": 4, "float16": 2, "int16": 2, "int64": 8, "int32": 4, "int8": 1, "uint8": 1}

Stage = Literal[
    "vision",
    "prefill",
    "decode",
    "exact vision",
    "exact prefill",
    "exact decode",
    "strict vision",
    "strict prefill",
    "strict decode",
]
STAGES: tuple[Stage, ...] = ("vision", "prefill", "decode")
"""What is compared of every bundle. The exact ones are of bundles that round activations, without that; the strict ones
of packages for Apple's systems, rounded to float16 inside operators, too."""
RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS = "relative error", "absolute error", "divergence, nats", "other tokens"
"""What a check measures: the largest difference over the largest magnitude, that difference, mean KL divergence of the
next-token distributions, and the share of positions whose likeliest token is another."""


ALIGNED = 256
"""Bytes: what addresses of tensors must be multiples of for TensorRT."""

MOST_CONTEXT, MOST_TOKENS = 2**20, 2**20
"""Beyond what any model here holds: of a cache, and of one picture's tokens."""


def _check(**rules: bool) -> None:
    """ValueError that names the first rule which does not hold."""
    for name, holds in rules.items():
        if not holds:
            raise ValueError(f"{name} is impossible")


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
class Delegation:
    """What of a part runs in a delegate of ``backend``: operators in so many ``subgraphs``, the others by name.

    ``multiply_adds`` are those of all, for one token that sees a full cache, or one tile.
    """

    backend: str
    subgraphs: int
    delegated: int
    outside: dict[str, int]
    multiply_adds: int
    multiply_adds_outside: dict[str, int]

    def __post_init__(self) -> None:
        _check(
            subgraphs=0 <= self.subgraphs <= self.delegated,
            outside=all(count > 0 for count in (*self.outside.values(), *self.multiply_adds_outside.values())),
            multiply_adds=0 <= sum(self.multiply_adds_outside.values()) <= self.multiply_adds,
        )

    @property
    def share(self) -> float:
        """Of the operators."""
        return self.delegated / max(self.delegated + sum(self.outside.values()), 1)

    @property
    def share_of_work(self) -> float:
        """Of the multiply-adds; 1 where there are none."""
        if not self.multiply_adds:
            return 1.0
        return 1 - sum(self.multiply_adds_outside.values()) / self.multiply_adds


@dataclass(frozen=True)
class Part:
    """A graph: its file, the files that hold its weights, and what goes in and out.

    ``operators`` counts its nodes by kind, ``weight_bytes`` its weights by number format, without those that it shares
    with a part before it. ``function`` is its name where the file holds several, ``states`` what it keeps from one run
    to the next, and shares with other functions of the file. ``delegation`` is of targets that hand operators over.
    ``source`` is the graph that the file was compiled from, where it was.
    """

    file: str
    weights: tuple[str, ...]
    precision: Literal["fp32", "fp16", "int16"]
    operators: dict[str, int]
    weight_bytes: dict[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    function: str = ""
    states: tuple[Port, ...] = ()
    delegation: Delegation | None = None
    source: str = ""


@dataclass(frozen=True)
class Fixed:
    """What the host does for graphs of fixed shapes.

    Parts ``prefill`` (``prefill_chunk`` tokens), ``decoder`` (one token) and ``head`` stand for one decoder. The host
    feeds rows of ``rotary``: a file of float32 cosines (positions, head_dim / 2) and, behind them, sines; a mask of 0
    and ``masked``, which hides what comes later, and with a ``window`` what lies that many tokens back; and, as
    ``compute`` says, the place ``start`` at which new rows enter the cache (gpu), or the cache itself, into which it
    writes the rows that come out (ane, npu). A chunk that is not full is filled up with its last row: no later token
    looks at what it wrote past its end, but what is no number there would reach the others. ``ios`` is the least
    release, of what is for Apple's systems.
    """

    compute: Literal["gpu", "ane", "npu"]
    ios: int | None
    rotary: str
    masked: float
    window: int | None = None

    def __post_init__(self) -> None:
        _check(
            masked=-65504 <= self.masked < 0,
            ios=self.ios is None if self.compute == "npu" else self.ios in (17, 18, 27),
            window=self.window is None or self.window > 0,
        )


@dataclass(frozen=True)
class Board:
    """What engines are built of by a bundle's own runner, on the board itself.

    ``tensorrt`` is the least version, ``jetpack`` the first that has it. The builder may use ``workspace_megabytes``.
    ``golden`` is a file of inputs, and of what the checkpoint makes of them: a new engine is held against it.
    """

    name: str
    tensorrt: str
    jetpack: str
    workspace_megabytes: int
    runner: str
    golden: str

    def __post_init__(self) -> None:
        _check(
            tensorrt=re.fullmatch(r"\d+(\.\d+)*", self.tensorrt) is not None,
            workspace_megabytes=self.workspace_megabytes > 0,
        )


@dataclass(frozen=True)
class Chip:
    """What Qualcomm's compiler was told: a chip, its number, and the architecture of its tensor processor.

    ``sdk`` is the compiler's version: an older one does not load what it wrote. ``shared``: one file holds the weights
    of all functions of the decoder. ``ranges`` is a file of the least and largest number of every tensor.
    """

    name: str
    soc: int
    arch: int
    sdk: str
    shared: bool
    ranges: str

    def __post_init__(self) -> None:
        _check(soc=self.soc > 0, arch=self.arch > 0, sdk=re.fullmatch(r"\d+(\.\d+)*", self.sdk) is not None)


@dataclass(frozen=True)
class Rounded:
    """A table of integers: a number is ``(integer - zero point) * scale``, with a scale for every ``block`` of a row.

    A row is filled up to whole blocks. Four bits lie two in a byte, the first in the low half. ``scales`` and
    ``zero_points`` are offsets in the file, (rows, blocks) each; no zero points: ``2 ** (bits - 1)``. Zero points of
    four bits are filled up to whole bytes, row by row.
    """

    bits: Literal[4, 8]
    block: int
    scales: int
    zero_points: int | None

    def __post_init__(self) -> None:
        _check(
            block=16 <= self.block <= 2**16 and self.block & (self.block - 1) == 0,
            scales=self.scales >= 0,
            zero_points=self.zero_points is None or self.zero_points >= 0,
        )

    def blocks(self, width: int) -> int:
        """Of a row."""
        return -(-width // self.block)

    def row_bytes(self, width: int) -> int:
        """Of integers."""
        return self.blocks(width) * self.block * self.bits // 8

    def zero_bytes(self, width: int) -> int:
        """Of a row's zero points."""
        return -(-self.blocks(width) * self.bits // 8)


@dataclass(frozen=True)
class Embedding:
    """The table of token embeddings, rows one after another in ``file`` from ``offset`` on; the head may share it.

    ``dtype`` is that of its numbers, or of the scales where it is ``rounded``.
    """

    file: str
    offset: int
    rows: int
    width: int
    dtype: Float
    rounded: Rounded | None = None

    def __post_init__(self) -> None:
        size = BYTES[self.dtype]
        _check(
            offset=self.offset >= 0 and (self.offset if self.rounded is None else self.rounded.scales) % size == 0,
            rows=self.rows > 0,
            width=self.width > 0,
        )

    @property
    def end(self) -> int:
        """Where in the file it ends."""
        size, rounded = BYTES[self.dtype], self.rounded
        if rounded is None:
            return self.offset + self.rows * self.width * size
        ends = [self.offset + self.rows * rounded.row_bytes(self.width)]
        ends.append(rounded.scales + self.rows * rounded.blocks(self.width) * size)
        if rounded.zero_points is not None:
            ends.append(rounded.zero_points + self.rows * rounded.zero_bytes(self.width))
        return max(ends)


@dataclass(frozen=True)
class Cache:
    """The cache of keys and values: one buffer for keys and one for values, for each layer and kv head.

    A token takes a row of ``key_widths[layer]`` and ``value_widths[layer]`` numbers: ``dtype``, or where the cache is
    ``rounded`` int8, to be multiplied by a scale of ``dtype``. Those of a layer are one buffer more, a row a token: of
    the keys of every kv head, then of their values.

    ``together``: one buffer holds the rows of all, layer by layer the keys of every kv head and then their values, and
    is filled up so that every row begins at a multiple of 256 bytes. Its first row is blank: it is always there, tokens
    come behind it, and no token looks at it. So no device is asked for an empty input, or for an address that it does
    not take.

    Rows of ``int16`` are integers whose scales the graphs hold: the host moves them and need not know.
    """

    layers: int
    kv_heads: int
    key_widths: tuple[int, ...]
    value_widths: tuple[int, ...]
    dtype: Kept
    max_context: int
    rounded: bool = False
    together: bool = False

    def __post_init__(self) -> None:
        _check(
            together=not (self.together and self.rounded),
            max_context=0 < self.max_context <= MOST_CONTEXT,
            kv_heads=0 < self.kv_heads <= 1024,
            layers=0 < self.layers <= 1024,
            widths=all(0 < width <= 2**16 for width in (*self.key_widths, *self.value_widths)),
        )
        if not (len(self.key_widths) == len(self.value_widths) == self.layers):
            raise ValueError("key_widths or value_widths has not one width for each layer")

    @property
    def bytes_per_token(self) -> int:
        """Size of all rows of one token."""
        return sum(width * BYTES[dtype] for width, dtype in self.buffers().values())

    @property
    def stored(self) -> Number:
        """The format of the rows."""
        return "int8" if self.rounded else self.dtype

    def buffers(self) -> dict[str, tuple[int, Number]]:
        """Every buffer: numbers in a row, and their format. Graphs read ``past_NAME`` and make ``new_NAME``."""
        found: dict[str, tuple[int, Number]] = {}
        if self.together:
            width, step = self.kv_heads * sum(self.key_widths + self.value_widths), ALIGNED // BYTES[self.dtype]
            return {"rows": (-(-width // step) * step, self.dtype)}
        for layer, widths in enumerate(zip(self.key_widths, self.value_widths, strict=True)):
            for head in range(self.kv_heads):
                for what, width in zip(("key", "value"), widths, strict=True):
                    found[f"{what}.{layer}.{head}"] = (width, self.stored)
            if self.rounded:
                found[f"scale.{layer}"] = (2 * self.kv_heads, self.dtype)
        return found


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

    def __post_init__(self) -> None:
        _check(
            tile_size=0 < self.tile_size <= 2**14,
            tiles=0 < self.min_tiles <= self.max_tiles <= 1024,
            tokens_per_tile=0 < self.tokens_per_tile <= MOST_TOKENS // self.max_tiles,
            mean=len(self.mean) == 3,
            std=len(self.std) == 3 and all(one > 0 for one in self.std),
        )


@dataclass(frozen=True)
class Prompt:
    """How text becomes tokens. Every prompt must begin with ``first_token``, which is folded into the graph."""

    tokenizer: str
    chat_template: str
    first_token: int
    image_token: int
    stop_tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        _check(stop_tokens=bool(self.stop_tokens))


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
    """One comparison with the reference model: what was measured, and the bound that it had to keep, if any.

    ``value`` is None where it is not finite.
    """

    stage: Stage
    case: str
    measure: Literal["relative error", "absolute error", "divergence, nats", "other tokens"]
    value: float | None
    bound: float | None

    @property
    def passed(self) -> bool:
        """Whether it is finite and kept the bound."""
        return self.value is not None and (self.bound is None or self.value <= self.bound)

    @property
    def told(self) -> str:
        """The value in words."""
        if self.value is None:
            return "not finite"
        return f"{100 * self.value:.1f} %" if self.measure == OTHERS else f"{self.value:.1e}"

    def text(self) -> str:
        """In words, for a message."""
        bound = "" if self.bound is None else f", bound {self.bound:.1e}"
        return f"{self.stage} of '{self.case}': {self.measure} {self.told}{bound}"


@dataclass(frozen=True)
class Hazard:
    """What float16 did to an operator of a part, over the first runs of what was compared.

    Counts of numbers that became NaN, passed float16's range, and of softmax rows that were masked whole; shares of
    numbers that vanished, and that lost bits because they are small.
    """

    part: str
    operator: str
    kind: str
    nans: int
    overflows: int
    masked_rows: int
    vanished: float
    subnormal: float


@dataclass(frozen=True)
class Layer:
    """How near a layer's output is to that of the checkpoint: signal to noise in decibels, None where it is no number.

    The noise is that of all layers before it, too.
    """

    part: str
    layer: int
    decibels: float | None


@dataclass(frozen=True)
class Proof:
    """A comparison with the checkpoint. ``left_out`` names the cases whose prompts did not fit into the cache.

    ``hazards`` are those of bundles that the interpreter runs, the worst first; ``layers`` those of bundles in fixed
    point, the worst first, too.
    """

    checks: tuple[Check, ...]
    left_out: tuple[str, ...]
    hazards: tuple[Hazard, ...] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every stage was compared, and every bound kept."""
        return {check.stage for check in self.checks} >= set(STAGES) and all(check.passed for check in self.checks)

    def by_stage(self) -> dict[tuple[str, str], dict[str, Check]]:
        """The checks of each stage and case, by measure."""
        found: dict[tuple[str, str], dict[str, Check]] = {}
        for check in self.checks:
            found.setdefault((check.stage, check.case), {})[check.measure] = check
        return found


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
class Integers:
    """How a quantized model came to be: recipe, algorithm, and how many weights each scheme holds."""

    recipe: str
    algorithm: str
    weights: dict[str, int]


UNSEALED = "0" * 64


@dataclass(frozen=True)
class Manifest:
    """A bundle. ``proof`` is None where the bundle was never compared with its model: *unverified*.

    ``integers`` is None where no weight is quantized, ``embedding`` where the part of that name looks words up.

    ``seal`` is the SHA-256 of the manifest's own file, with 64 zeros in place of the seal.
    """

    schema_version: Literal[1]
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
    fixed: Fixed | None = None
    board: Board | None = None
    chip: Chip | None = None

    def __post_init__(self) -> None:
        """ValueError where two places contradict each other."""
        model, table, cache, prompt = self.model, self.embedding, self.cache, self.prompt
        tokens = (prompt.first_token, prompt.image_token, *prompt.stop_tokens)
        buffers = cache.buffers()
        _check(
            parts={"vision", "decoder", *(("prefill", "head") if self.fixed else ())} <= self.parts.keys()
            and (table is not None or "embedding" in self.parts),
            rotary=self.fixed is None
            or self.fixed.rotary not in self.files
            or self.files[self.fixed.rotary].bytes == cache.max_context * model.head_dim * 4,
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
            ports=self.fixed is not None
            or all(_fits(port, self, buffers) for part in self.parts.values() for port in part.inputs + part.outputs),
        )

    @property
    def verified(self) -> bool:
        """Whether it was compared with its model, and every bound was kept."""
        return self.proof is not None and self.proof.passed


def _widths(dim: int, layer: Phantom) -> tuple[tuple[int, int], ...]:
    """Of a layer's keys and values: as wide as what they hold, or both as wide as the wider."""
    own = dim + layer.key_rank, dim + layer.value_rank
    return own, (max(own), max(own))


def _fits(port: Port, manifest: Manifest, buffers: dict[str, tuple[int, Number]]) -> bool:
    """Whether a port's width is what the rest of the manifest says, as far as that is about it."""
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

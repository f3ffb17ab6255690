"""What a bundle would weigh and multiply: counted from a model's numbers, before anything is exported.

The counts are those of ``work.work_of``, which reads them from a bundle; neither torch nor weights are needed.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from phantom_edge.bundle.work import BITS, Work
from phantom_edge.models.sizes import Size

Precision = Literal["fp32", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
HALF_TARGETS = ("coreml", "jetson", "qnn")
"""Targets that compute in 16 bits whatever the recipe."""

STEP, APPLE_STEP = 8, 32
"""Cached rows are multiples of so many numbers (``passes.phantom_rank.STEP``, ``coreml.lower.MULTIPLE``)."""

USUAL_RANK, FEW_KV_HEADS = 8, 2
"""What ``--phantom rank=auto`` keeps where so few kv heads share a model (0.5b and nano, exported: 8, rarely 16)."""

TABLE_BLOCK, ALIGNED = 128, 256
"""Block of tables with a scale for each row (``parts.packing.WHOLE_ROW``), and bytes that a row of one buffer fills."""

ROTATIONS = {"onnx": 1, "jetson": 1, "executorch": 2}
"""Numbers of a position's rotation for each of a head; other targets are handed them."""

VOCABULARY_BYTES = 50
"""Of a tokenizer's file, for each word; between nano's 55 and Qwen2's 46."""


@dataclass(frozen=True)
class Form:
    """A model as a bundle of a target; ``weights`` is fp32, fp16 or a shipped recipe, ``rank`` None is the usual one.

    Where the usual rank is known only from the weights (many kv heads), the whole phantom half is counted: at most.
    """

    size: Size
    target: str
    weights: str
    context: int
    cache: Literal["float", "int8"] = "float"
    rank: int | None = None

    @property
    def element(self) -> int:
        """Bytes of a float."""
        return 2 if self.target in HALF_TARGETS or self.weights == "fp16" else 4

    @property
    def kept(self) -> int:
        """Numbers of a phantom half that are kept, as the target's step fills them up."""
        dim, step = self.size.head_dim, APPLE_STEP if self.target == "coreml" else STEP
        usual = USUAL_RANK if self.size.kv_heads <= FEW_KV_HEADS else dim
        wanted = usual if self.rank is None else self.rank
        fitting = [rank for rank in range(dim) if (dim + rank) % step == 0 and rank >= wanted]
        return fitting[0] if fitting else dim


@dataclass(frozen=True)
class Counted:
    """Of a form: bytes and multiply-adds as ``Work`` has them, and what tells stages apart.

    ``head_products`` are of the words' scores, which a prompt needs once; ``look_products`` of attention over a tile,
    which no weight tells; ``table_bytes`` of the table of words where it is beside the decoder.
    """

    work: Work
    table_bytes: int
    layers: int
    vision_layers: int
    head_products: int
    look_products: int
    disk_bytes: int

    @property
    def weight_bytes(self) -> int:
        """All that is loaded."""
        return self.work.decoder_bytes + self.work.vision_bytes + self.table_bytes


def count(form: Form) -> Counted:
    """Bytes and multiply-adds of a form."""
    size, vision = form.size, form.size.vision
    decoder, seeing, table = decoder_weights(form), vision_weights(form), _table(form)
    patches = (vision.image // vision.patch) ** 2 + 1
    widths = 2 * (size.head_dim + form.kept)
    work = Work(
        decoder_bytes=sum(decoder.values()),
        vision_bytes=sum(seeing.values()),
        decoder_products=_numbers(decoder),
        vision_products=_numbers(seeing) * patches,
        cache_bytes_per_token=cache_bytes(form),
        cache_products_per_token=widths * size.heads * size.layers,
    )
    weights = work.decoder_bytes + work.vision_bytes + table
    return Counted(
        work=work,
        table_bytes=table,
        layers=size.layers,
        vision_layers=vision.layers,
        head_products=size.vocab * size.hidden,
        look_products=2 * patches**2 * vision.hidden * vision.layers,
        disk_bytes=weights + VOCABULARY_BYTES * size.vocab,
    )


def activation_bytes(form: Form, chunk: int) -> int:
    """The most that lies between operators: of a tile, or of a chunk that sees a full cache.

    Counted: what a layer reads and makes, and scores before and after their softmax.
    """
    size, vision, element = form.size, form.size.vision, form.element
    patches = (vision.image // vision.patch) ** 2 + 1
    tile = patches * (4 * vision.hidden + 2 * vision.intermediate) + 2 * vision.heads * patches**2
    rows = chunk * (4 * size.hidden + 3 * size.intermediate) + 2 * size.heads * chunk * form.context + size.vocab
    return element * max(tile, rows)


def cache_bytes(form: Form) -> int:
    """Of one token."""
    size, width = form.size, 2 * (form.size.head_dim + form.kept)
    numbers = size.layers * size.kv_heads * width
    if form.cache == "int8":
        return numbers + size.layers * 2 * size.kv_heads * form.element
    if form.target == "jetson":
        return -(-numbers * form.element // ALIGNED) * ALIGNED
    return numbers * form.element


def decoder_weights(form: Form) -> dict[str, int]:
    """Bytes by number format, as a manifest tells them."""
    size, found = form.size, Counter[str]()
    schemes = schemes_of(form.weights)
    for name, rows, columns in _layer_matrices(size):
        found += _times(size.layers, _stored(form, schemes(name), rows, columns))
    head = "model.language_model.embed_tokens.weight" if size.tied else "lm_head.weight"
    found += _stored(form, schemes(head), size.vocab, size.hidden, is_table=size.tied)
    dim, kept = size.head_dim, form.kept
    maps = 3 * dim**2 + 2 * dim * size.heads + 4 * dim * size.kv_heads
    bases = 3 * dim * kept if kept < dim else 0
    biases = size.hidden + 2 * size.kv_heads * dim if size.attention_bias else 0
    layer = maps + bases + 2 * (dim + kept) + dim * kept + 2 * size.hidden + biases
    rotations = form.context * dim * ROTATIONS.get(form.target, 0)
    found += _plain(form, size.layers * layer + size.hidden + rotations)
    return dict(found)


def vision_weights(form: Form) -> dict[str, int]:
    """Those of tower and projector."""
    size, found = form.size, Counter[str]()
    schemes, matrices = schemes_of(form.weights), 0
    for name, rows, columns, times in _vision_matrices(size):
        found += _times(times, _stored(form, schemes(name), rows, columns))
        matrices += times * rows * columns
    parts = size.parameters()
    found += _plain(form, parts["vision"] + parts["projector"] - matrices)
    return dict(found)


def _table(form: Form) -> int:
    """Bytes of the table of words where the decoder's own head is not read instead."""
    size, scheme = form.size, schemes_of(form.weights)("model.language_model.embed_tokens.weight")
    if size.tied and (form.target == "onnx" or (form.target == "jetson" and scheme is None)):
        return 0
    if scheme is None:
        return size.vocab * size.hidden * form.element
    blocks = -(-size.hidden // (scheme.group or TABLE_BLOCK))
    if form.target == "executorch":
        return size.vocab * (size.hidden * scheme.stored_bits // 8 + 4 * (blocks if scheme.group else 1))
    return size.vocab * blocks * ((scheme.group or TABLE_BLOCK) * scheme.stored_bits // 8 + form.element)


@dataclass(frozen=True)
class Scheme:
    """What a name such as int8, int4-g32-pos or lut4-r16 says of storage."""

    bits: int
    group: int | None = None
    palette_rows: int | None = None

    @property
    def stored_bits(self) -> int:
        """3 bits are held in 4."""
        return 8 if self.bits == 8 else 4


Schemes = Callable[[str], Scheme | None]


def schemes_of(weights: str) -> Schemes:
    """From a weight's name to its scheme, None where it stays a float: by a shipped recipe."""
    if weights in PRECISIONS:
        return lambda _name: None
    recipe = _recipe(weights)
    parts: dict[str, str] = recipe.get("parts", {})
    rules = [(re.compile(rule["match"]), rule["scheme"]) for rule in recipe.get("rules", [])]

    def found(name: str) -> Scheme | None:
        scheme = parts.get(_part(name), "float")
        for pattern, own in rules:
            scheme = own if pattern.fullmatch(name) else scheme
        return _scheme(scheme)

    return found


def groups_of(weights: str) -> int:
    """What divides the rows of a recipe's groups; 1 where it has none."""
    recipe = {} if weights in PRECISIONS else _recipe(weights)
    schemes = map(_scheme, recipe.get("parts", {}).values())
    return max((scheme.group or 1 for scheme in schemes if scheme), default=1)


def _recipe(name: str) -> dict[str, Any]:
    return tomllib.loads((files("phantom_edge.quantize") / "recipes" / f"{name}.toml").read_text(encoding="utf-8"))


def _scheme(name: str) -> Scheme | None:
    if name == "float":
        return None
    if palettes := re.fullmatch(r"lut(\d)-r(\d+)", name):
        return Scheme(int(palettes[1]), palette_rows=int(palettes[2]))
    found = re.match(r"int(\d)(?:-g(\d+))?", name)
    assert found is not None, name
    return Scheme(int(found[1]), None if found[2] is None else int(found[2]))


def _part(name: str) -> str:
    starts = {
        "model.vision_tower.": "vision",
        "model.projector.": "projector",
        "model.language_model.embed": "embedding",
        "lm_head.": "head",
    }
    return next((part for start, part in starts.items() if name.startswith(start)), "decoder")


def _stored(form: Form, scheme: Scheme | None, rows: int, columns: int, *, is_table: bool = False) -> Counter[str]:
    """A matrix as the target holds it: integers and scales, or floats."""
    if scheme is None:
        return _plain(form, rows * columns)
    if scheme.palette_rows is not None:
        palettes = -(-rows // scheme.palette_rows) * 2**scheme.bits
        return Counter({f"int{scheme.bits}": rows * columns * scheme.stored_bits // 8}) + _plain(form, palettes)
    group = scheme.group or (TABLE_BLOCK if is_table and form.target == "onnx" else None)
    blocks = 1 if group is None else -(-columns // group)
    filled = columns if group is None else blocks * group
    scale = {"executorch": "bfloat16" if scheme.group else "float32", "qnn": "float32"}
    kind = scale.get(form.target, "float32" if form.element == 4 else "float16")
    found = Counter({f"int{scheme.bits}": rows * filled * scheme.stored_bits // 8})
    found[kind] += rows * blocks * (4 if kind == "float32" else 2)
    return found


def _plain(form: Form, numbers: int) -> Counter[str]:
    kind = "uint16" if form.target == "qnn" else f"float{8 * form.element}"
    return Counter({kind: numbers * form.element})


def _times(count: int, one: Counter[str]) -> Counter[str]:
    return Counter({kind: count * size for kind, size in one.items()})


def _layer_matrices(size: Size) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns of what a recipe may round in a layer: shipped ones tell no layer from another."""
    narrow, start = size.kv_heads * size.head_dim, "model.language_model.layers.0."
    yield f"{start}self_attn.q_proj.weight", size.hidden, size.hidden
    yield f"{start}self_attn.k_proj.weight", narrow, size.hidden
    yield f"{start}self_attn.v_proj.weight", narrow, size.hidden
    yield f"{start}self_attn.o_proj.weight", size.hidden, size.hidden
    yield f"{start}mlp.gate_proj.weight", size.intermediate, size.hidden
    yield f"{start}mlp.up_proj.weight", size.intermediate, size.hidden
    yield f"{start}mlp.down_proj.weight", size.hidden, size.intermediate


def _vision_matrices(size: Size) -> Iterator[tuple[str, int, int, int]]:
    """Those of tower and projector, and how many there are."""
    width, inner, layers = size.vision.hidden, size.vision.intermediate, size.vision.layers
    start = "model.vision_tower.layers.0."
    yield f"{start}attn.qkv.weight", 3 * width, width, layers
    yield f"{start}attn.proj.weight", width, width, layers
    yield f"{start}mlp.fc1.weight", inner, width, layers
    yield f"{start}mlp.fc2.weight", width, inner, layers
    yield "model.projector.fc1.weight", size.hidden, 4 * width, 1
    yield "model.projector.fc2.weight", size.hidden, size.hidden, 1


def _numbers(weight_bytes: dict[str, int]) -> int:
    """As ``work`` counts them."""
    return sum(size * 8 // BITS.get(kind, 32) for kind, size in weight_bytes.items())

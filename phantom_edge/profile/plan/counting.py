"""Bytes and multiply-adds of a bundle, counted from a model's numbers before it is exported.

The counts equal those of ``work.work_of``, which reads them from a bundle; no torch and no weights are needed.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.work import BITS, SECOND_FORM, Work, first_form, numbers_of
from phantom_edge.checkpoint.quantized.schemes import FLOAT, SCHEMES, Scheme
from phantom_edge.export.targets.target import PRECISIONS, Target
from phantom_edge.models.sizes import Size
from phantom_edge.models.tensor_names import EMBEDDING, HEAD
from phantom_edge.quantize.recipe import read_recipe

USUAL_RANK, FEW_KV_HEADS = 8, 2
"""Rank that ``--phantom rank=auto`` keeps for at most this many kv heads (exported 0.5b and nano: 8, rarely 16)."""

VOCABULARY_BYTES = 50
"""Bytes of a tokenizer's file per token of its vocabulary; between nano's 55 and Qwen2's 46."""


@dataclass(frozen=True)
class Form:
    """A model as a bundle of a target; ``weights`` is fp32, fp16 or a shipped recipe, ``rank`` None is the usual one.

    Where the usual rank depends on the weights (many kv heads), the whole phantom half is counted: an upper bound.
    """

    size: Size
    target: Target
    weights: str
    context: int
    cache: Literal["float", "int8"] = "float"
    rank: int | None = None

    @property
    def element(self) -> int:
        """Bytes of a float."""
        return 2 if self.target.count.is_half or self.weights == "fp16" else 4

    @property
    def kept(self) -> int:
        """Rank of a phantom half, rounded up to the target's step."""
        dim, step = self.size.head_dim, self.target.count.step
        usual = USUAL_RANK if self.size.kv_heads <= FEW_KV_HEADS else dim
        wanted = usual if self.rank is None else self.rank
        fitting = [rank for rank in range(dim) if (dim + rank) % step == 0 and rank >= wanted]
        return fitting[0] if fitting else dim


@dataclass(frozen=True)
class Counted:
    """Bytes and multiply-adds of a form, as ``Work`` defines them, with the parts that stages need separately.

    ``head_products``: logits, computed once for a prompt; ``attention_products``: attention over a tile, which has no
    weights; ``table_bytes``: the embedding table where it is stored beside the decoder; ``prompt_bytes``: weights of
    the decoder that are stored once more, for prompts.
    """

    work: Work
    table_bytes: int
    layers: int
    vision_layers: int
    head_products: int
    attention_products: int
    disk_bytes: int
    prompt_bytes: int = 0

    @property
    def weight_bytes(self) -> int:
        """Size of the loaded weights."""
        return self.work.decoder_bytes + self.prompt_bytes + self.work.vision_bytes + self.table_bytes


def count(form: Form) -> Counted:
    """Counts bytes and multiply-adds of a form."""
    size, vision = form.size, form.size.vision
    decoder, seeing, table = decoder_weights(form), vision_weights(form), _table(form)
    patches = (vision.image // vision.patch) ** 2 + 1
    widths = 2 * (size.head_dim + form.kept)
    work = Work(
        decoder_bytes=sum(first_form(decoder).values()),
        vision_bytes=sum(seeing.values()),
        decoder_products=numbers_of(decoder),
        vision_products=numbers_of(seeing) * patches,
        cache_bytes_per_token=cache_bytes(form),
        cache_products_per_token=widths * size.heads * size.layers,
    )
    prompts = decoder.get(SECOND_FORM, 0)
    weights = work.decoder_bytes + prompts + work.vision_bytes + table
    return Counted(
        work=work,
        table_bytes=table,
        layers=size.layers,
        vision_layers=vision.layers,
        head_products=size.vocab * size.hidden,
        attention_products=2 * patches**2 * vision.hidden * vision.layers,
        disk_bytes=weights + VOCABULARY_BYTES * size.vocab,
        prompt_bytes=prompts,
    )


def activation_bytes(form: Form, chunk: int) -> int:
    """Peak size of activations: of a tile, or of a chunk over a full cache.

    Counted: inputs and outputs of a layer, and scores before and after their softmax.
    """
    size, vision, element = form.size, form.size.vision, form.element
    patches = (vision.image // vision.patch) ** 2 + 1
    tile = patches * (4 * vision.hidden + 2 * vision.intermediate) + 2 * vision.heads * patches**2
    rows = chunk * (4 * size.hidden + 3 * size.intermediate) + 2 * size.heads * chunk * form.context + size.vocab
    return element * max(tile, rows)


def cache_bytes(form: Form) -> int:
    """Bytes of one token in the cache."""
    size, width = form.size, 2 * (form.size.head_dim + form.kept)
    numbers = size.layers * size.kv_heads * width
    if form.cache == "int8":
        return numbers + size.layers * 2 * size.kv_heads * form.element
    whole = form.target.count.row_bytes
    return -(-numbers * form.element // whole) * whole


def decoder_weights(form: Form) -> dict[str, int]:
    """Bytes of the decoder's weights by number format, as in a manifest."""
    size, found = form.size, Counter[str]()
    schemes = schemes_of(form.weights)
    for name, rows, columns in _layer_matrices(size):
        found += _times(size.layers, _stored(form, schemes(name), rows, columns, form.target.count.row_block))
    head = EMBEDDING if size.tied else HEAD
    block = form.target.count.head_block if size.tied else form.target.count.row_block
    found += _stored(form, schemes(head), size.vocab, size.hidden, block)
    dim, kept = size.head_dim, form.kept
    maps = 3 * dim**2 + 2 * dim * size.heads + 4 * dim * size.kv_heads
    bases = 3 * dim * kept if kept < dim else 0
    biases = size.hidden + 2 * size.kv_heads * dim if size.attention_bias else 0
    layer = maps + bases + 2 * (dim + kept) + dim * kept + 2 * size.hidden + biases
    rotations = form.context * dim * form.target.count.rotations
    found += _plain(form, size.layers * layer + size.hidden + rotations)
    return dict(found)


def vision_weights(form: Form) -> dict[str, int]:
    """Bytes of the tower's and projector's weights by number format."""
    size, found = form.size, Counter[str]()
    schemes, matrices = schemes_of(form.weights), 0
    for name, rows, columns, times in _vision_matrices(size):
        found += _times(times, _stored(form, schemes(name), rows, columns))
        matrices += times * rows * columns
    parts = size.parameters()
    found += _plain(form, parts["vision"] + parts["projector"] - matrices)
    return dict(found)


def _table(form: Form) -> int:
    """Bytes of the embedding table; 0 where rows are read from the tied head."""
    size, own, scheme = form.size, form.target.count, schemes_of(form.weights)(EMBEDDING)
    if size.tied and (own.ties == "always" or (own.ties == "float" and scheme is None)):
        return 0
    if scheme is None:
        return size.vocab * size.hidden * form.element
    group = scheme.group or own.table_block
    blocks = 1 if group is None else -(-size.hidden // group)
    filled = size.hidden if group is None else blocks * group
    scale = BITS[own.table_scales] // 8 if own.table_scales else form.element
    return size.vocab * (filled * stored_bits(scheme) // 8 + blocks * scale)


Schemes = Callable[[str], Scheme | None]


def schemes_of(weights: str) -> Schemes:
    """Returns the scheme of a weight by its name, None for floats, by a shipped recipe."""
    return (lambda _name: None) if weights in PRECISIONS else read_recipe(weights).scheme_of


def groups_of(weights: str) -> int:
    """Largest group size of a recipe; 1 where it has no groups."""
    parts = {} if weights in PRECISIONS else read_recipe(weights).parts
    return max((SCHEMES[name].group or 1 for name in parts.values() if name != FLOAT), default=1)


def stored_bits(scheme: Scheme) -> int:
    """Stored bits of an integer: 3 bits are stored in 4."""
    return 8 if scheme.bits == 8 else 4


def _stored(form: Form, scheme: Scheme | None, rows: int, columns: int, block: int | None = None) -> Counter[str]:
    """Bytes of a matrix as the target stores it: integers and scales, or floats; ``block`` cuts rows without groups."""
    if scheme is None:
        return _plain(form, rows * columns)
    if scheme.palette_rows is not None:
        palettes = -(-rows // scheme.palette_rows) * 2**scheme.bits
        return Counter({f"int{scheme.bits}": rows * columns * stored_bits(scheme) // 8}) + _plain(form, palettes)
    own = form.target.count
    group = scheme.group or block
    blocks = 1 if group is None else -(-columns // group)
    filled = columns if group is None else blocks * group
    kind = own.scales[scheme.group is not None] or f"float{8 * form.element}"
    found = Counter({f"int{scheme.bits}": rows * filled * stored_bits(scheme) // 8})
    found[kind] += rows * blocks * BITS[kind] // 8
    if scheme.exact8 and own.two_forms and form.element == BITS["float32"] // 8:
        found[SECOND_FORM] = rows * columns + rows * form.element
    return found


def _plain(form: Form, numbers: int) -> Counter[str]:
    kind = form.target.count.plain or f"float{8 * form.element}"
    return Counter({kind: numbers * form.element})


def _times(count: int, one: Counter[str]) -> Counter[str]:
    return Counter({kind: count * size for kind, size in one.items()})


def _layer_matrices(size: Size) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns of a layer's quantizable matrices; shipped recipes treat all layers alike."""
    narrow, start = size.kv_heads * size.head_dim, "model.language_model.layers.0."
    yield f"{start}self_attn.q_proj.weight", size.hidden, size.hidden
    yield f"{start}self_attn.k_proj.weight", narrow, size.hidden
    yield f"{start}self_attn.v_proj.weight", narrow, size.hidden
    yield f"{start}self_attn.o_proj.weight", size.hidden, size.hidden
    yield f"{start}mlp.gate_proj.weight", size.intermediate, size.hidden
    yield f"{start}mlp.up_proj.weight", size.intermediate, size.hidden
    yield f"{start}mlp.down_proj.weight", size.hidden, size.intermediate


def _vision_matrices(size: Size) -> Iterator[tuple[str, int, int, int]]:
    """Name, rows, columns and number of the tower's and projector's matrices."""
    width, inner, layers = size.vision.hidden, size.vision.intermediate, size.vision.layers
    start = "model.vision_tower.layers.0."
    yield f"{start}attn.qkv.weight", 3 * width, width, layers
    yield f"{start}attn.proj.weight", width, width, layers
    yield f"{start}mlp.fc1.weight", inner, width, layers
    yield f"{start}mlp.fc2.weight", width, inner, layers
    yield "model.projector.fc1.weight", size.hidden, 4 * width, 1
    yield "model.projector.fc2.weight", size.hidden, size.hidden, 1

"""Conditions over a node and its neighbours; each is true where a rule of Qualcomm's processor is broken."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from phantom_edge.export.targets.onnx.nodes import GraphNode, Wires

MOST_RANK = 5
LEVELS = {"UINT8": (0, 255), "INT8": (-128, 127), "UINT16": (0, 2**16 - 1), "INT16": (-(2**15), 2**15 - 1)}
"""Least and largest integer, by format of activations."""

WEIGHTS = {*LEVELS, "INT4", "INT32"}
"""Formats of constants; INT32 is that of biases."""

FLOATS = {"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"}
ROUNDING = {"QuantizeLinear", "DequantizeLinear"}

ON_CPU = {
    ("com.microsoft", "GroupQueryAttention"),
    ("com.microsoft", "RotaryEmbedding"),
    ("com.microsoft", "SkipLayerNormalization"),
    ("com.microsoft", "SkipSimplifiedLayerNormalization"),
}
"""Operators that the processor did not take, with their domains."""

SCALES = {
    "LayerNormalization": {"UINT16": {"UINT8", "INT16"}, "UINT8": {"UINT8"}, "INT8": {"INT8"}},
    "RMSNormalization": {"UINT16": {"UINT8", "UINT16", "INT16"}, "UINT8": {"UINT8"}, "INT8": set()},
}
"""Formats of a norm's scale that are placed, by the norm and the format of its activations."""

BOUNDED = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
"""Fixed ranges of operators' 16-bit outputs, which override the graph's scales."""

CACHE = {"past_": "new_", "new_": "past_"}
"""Prefixes of the names of a cache's inputs and outputs, each with its counterpart."""

MOVING = {"MatMul", "Reshape", "Transpose", "QuantizeLinear"}
"""Readers towards which ONNX Runtime moves a Transpose, beyond integers that are an output."""


@dataclass(frozen=True)
class Encoding:
    """Encoding of numbers by integers: ``(integer - zero) * scale``, with one or many scales."""

    kind: str
    scale: tuple[float, ...]
    zero: tuple[int, ...]

    @classmethod
    def of(cls, node: GraphNode | None) -> "Encoding | None":
        """Reads the encoding of a QuantizeLinear's output or a DequantizeLinear's input, where the file holds it."""
        if node is None or node.type not in ROUNDING or 1 not in node.held or node.kinds[1] not in FLOATS:
            return None
        scale = tuple(map(float, node.array(1).astype(np.float32).flatten()))
        if 2 in node.held:
            return cls(node.kinds[2], scale, tuple(map(int, node.array(2).astype(np.int64).flatten())))
        kind = node.kinds[0] if node.type == "DequantizeLinear" else "UINT8"
        return cls(kind, scale, (0,) * len(scale))

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest number, where one scale is for all."""
        if self.kind not in LEVELS or len(self.scale) != 1:
            return -math.inf, math.inf
        low, high = LEVELS[self.kind]
        return (low - self.zero[0]) * self.scale[0], (high - self.zero[0]) * self.scale[0]


def _tensors(node: GraphNode) -> Iterator[str]:
    return (name for name in (*node.inputs, *node.outputs) if name)


def is_on_cpu(node: GraphNode) -> bool:
    """An operator that the provider does not place."""
    return (node.domain, node.type) in ON_CPU


def is_dynamic(node: GraphNode) -> bool:
    """A size that may differ from run to run."""
    shapes = node.wires.shapes
    return any(isinstance(side, str) for name in _tensors(node) for side in shapes.get(name, ()))


def is_too_deep(node: GraphNode) -> bool:
    """More dimensions than the processor has."""
    ranks = [len(node.wires.shapes.get(name, ())) for name in _tensors(node)]
    return max([*ranks, *(len(tensor.dims) for tensor in node.held.values())], default=0) > MOST_RANK


def has_floats_around(node: GraphNode) -> bool:
    """A float that no DequantizeLinear made, or one that is an output as it is."""
    if node.type in ROUNDING:
        return False
    kinds = node.wires.kinds

    def is_float(place: int) -> bool:
        made = node.maker(place)
        return (made is None or made.type != "DequantizeLinear") and (
            (node.kinds[place] or kinds.get(node.inputs[place], "")) in FLOATS
        )

    return any(map(is_float, range(len(node.inputs)))) or any(
        name in node.wires.outputs and kinds.get(name) in FLOATS for name in node.outputs
    )


def has_odd_integers(node: GraphNode) -> bool:
    """Integers of other formats, or with scales that the file does not hold."""
    if node.type not in ROUNDING:
        return False
    if 0 in node.held:
        return node.kinds[0] not in WEIGHTS
    about = Encoding.of(node)
    return about is None or about.kind not in LEVELS


def lacks_zero_points(node: GraphNode) -> bool:
    """Reads four bits with one scale for a row or for all, and no zero points; blocks do without."""
    return any(
        made.kinds[0] == "INT4" and not made.attributes.get("block_size") and not any(made.inputs[2:])
        for place in range(len(node.inputs))
        if (made := node.maker(place)) and made.type == "DequantizeLinear"
    )


def _norm(node: GraphNode) -> tuple[Encoding, Encoding, str] | None:
    """Returns a norm's encodings of activations and scale, and the format of its bias, or ""."""
    if node.type not in SCALES:
        return None
    x, scale = Encoding.of(node.maker(0)), Encoding.of(node.maker(1))
    bias = Encoding.of(node.maker(2))
    return None if x is None or scale is None else (x, scale, bias.kind if bias else "")


def has_odd_norm_scale(node: GraphNode) -> bool:
    """A norm whose scale has a format that does not go with its activations."""
    found = _norm(node)
    if found is None or found[0].kind not in SCALES[node.type]:
        return False
    x, scale, bias = found
    if node.type == "LayerNormalization" and x.kind == "UINT16" and bias in LEVELS:
        return False  # a bias in 8 or 16 bits is added after a norm that is placed in any case
    is_moved = scale.kind == "INT16" and any(scale.zero) and bias == "INT32"
    return scale.kind not in SCALES[node.type][x.kind] or is_moved


def has_moved_norm_scale(node: GraphNode) -> bool:
    """A norm whose signed scale has a zero point, and which has no bias."""
    found = _norm(node) if node.type == "LayerNormalization" else None
    if found is None:
        return False
    x, scale, bias = found
    return x.kind == "UINT16" and scale.kind == "INT16" and any(scale.zero) and not bias


def _factors(node: GraphNode) -> tuple[Encoding, Encoding] | None:
    """Returns the encodings of both factors of a product whose first one is uint16."""
    x, other = (Encoding.of(node.maker(place)) for place in (0, 1)) if node.type == "MatMul" else (None, None)
    return None if x is None or other is None or x.kind != "UINT16" else (x, other)


def multiplies_unsigned(node: GraphNode) -> bool:
    """A product of activations, the second of them not signed."""
    found = _factors(node)
    return found is not None and found[1].kind == "UINT16" and 1 not in node.held


def multiplies_moved(node: GraphNode) -> bool:
    """A product whose second factor is signed and has a zero point."""
    found = _factors(node)
    return found is not None and found[1].kind == "INT16" and any(found[1].zero)


def _source(node: GraphNode | None, place: int = 0) -> GraphNode | None:
    """Returns the node that makes an input, before its rounding."""
    found = node and node.maker(place)
    while found is not None and found.type in ROUNDING:
        found = found.maker(0)
    return found


def is_part_of_norm(node: GraphNode) -> bool:
    """The root of a mean of squares."""
    if node.type != "Sqrt":
        return False
    found = _source(node)
    if found is not None and found.type == "Add":
        found = next((one for place in (0, 1) if (one := _source(found, place)) and one.type == "ReduceMean"), None)
    squares = _source(found) if found is not None and found.type == "ReduceMean" else None
    if squares is None:
        return False
    return squares.type == "Pow" or (squares.type == "Mul" and _root(squares, 0) == _root(squares, 1))


def _root(node: GraphNode, place: int) -> str:
    """Returns the name of an input before its rounding."""
    name, made = node.inputs[place], node.maker(place)
    while made is not None and made.type in ROUNDING:
        name, made = made.inputs[0], made.maker(0)
    return name


def inverts_small(node: GraphNode) -> bool:
    """The inverse of a tensor whose range ends below 1."""
    about = Encoding.of(node.maker(0)) if node.type == "Reciprocal" else None
    return about is not None and about.ends[1] < 1


def weighs_first(node: GraphNode) -> bool:
    """``weight * (x * Reciprocal(Sqrt(ReduceMean(Pow(x)) + e)))`` in float32."""
    if node.type != "Mul" or 0 not in node.held or node.kinds[0] != "FLOAT":
        return False
    found: GraphNode | None = node
    for kind, place in (("Mul", 1), ("Reciprocal", 1), ("Sqrt", 0), ("Add", 0), ("ReduceMean", 0), ("Pow", 0)):
        found = found and found.maker(place)
        if found is None or found.type != kind:
            return False
    return True


def turns_output(node: GraphNode) -> bool:
    """Integers that are an output, behind a Transpose that ONNX Runtime moves behind their QuantizeLinear."""
    is_output = node.type == "QuantizeLinear" and node.outputs[0] in node.wires.outputs
    turned = _source(node) if is_output else None
    if turned is None or turned.type != "Transpose":
        return False
    before: GraphNode | None = turned
    name = ""
    while before is not None and before.type in {*ROUNDING, "Transpose"}:
        name, before = before.inputs[0], before.maker(0)
    if before is not None and before.type == "Reshape":
        return False  # the provider takes both as one
    users = [one.type for decoded in node.readers for one in decoded.readers]
    is_integer = node.wires.kinds.get(name, "") in LEVELS
    return bool(MOVING & set(users)) or (is_integer and not users)


def ends_elsewhere(node: GraphNode) -> bool:
    """Integers of 16 bits that are an output, of an operator whose integers reach elsewhere."""
    if node.type != "QuantizeLinear" or node.outputs[0] not in node.wires.outputs:
        return False
    made = node.maker(0)
    while made is not None and made.type in {*ROUNDING, "Transpose"}:
        made = made.maker(0)
    about = Encoding.of(node)
    if made is None or made.type not in BOUNDED or about is None or about.kind != "UINT16":
        return False
    return not np.allclose(about.ends, BOUNDED[made.type], atol=1e-3)


def _rows(wires: Wires, name: str) -> Encoding | None:
    """Returns the encoding of a cache's input or output."""
    if name in wires.inputs:
        return next((about for node in wires.readers[name] if (about := Encoding.of(node))), None)
    return Encoding.of(wires.makers.get(name)) if name in wires.outputs else None


def has_other_rows(node: GraphNode) -> bool:
    """Rows of a cache with another encoding elsewhere: the host moves integers, without scales."""
    about = Encoding.of(node)
    name = node.outputs[0] if node.type == "QuantizeLinear" else node.inputs[0] if node.inputs else ""
    start = next((start for start in CACHE if name.startswith(start)), "")
    if not start or about is None or name not in node.wires.inputs | node.wires.outputs:
        return False
    names = (name, CACHE[start] + name.removeprefix(start))
    found = [_rows(wires, one) for wires in (node.wires, *node.wires.beside) for one in names]
    return any(one is not None and one != about for one in found)

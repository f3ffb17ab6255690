"""What Qualcomm's Hexagon processor (HTP) takes of a graph, and what it takes and gets wrong: rules as data.

That a graph compiled with the CPU disabled proves where it runs, and nothing about what it computes. What breaks a rule
that says ``wrong`` is compiled and run in Qualcomm's simulator beside the form that we draw, in tests/test_hexagon.py.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.export.lint import graph_rules
from phantom_edge.export.lint.graph_rules import GraphRule
from phantom_edge.export.lint.onnx_nodes import Graph, GraphNode, Wires
from phantom_edge.export.lint.sources import GITHUB, Source

QNN = f"{GITHUB}/onnxruntime/onnxruntime-qnn"
PROVIDER = Source(
    "ONNX Runtime, QNN execution provider", "https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider"
)
DATATYPES = Source(
    "Qualcomm, HTP backend op definition supplement: formats and ranks of every operator",
    "https://docs.qualcomm.com/bundle/publicresource/80-63442-10/topics/HtpOpDefSupplement.md",
)
MEASURED = Source(
    "measured in the simulator of onnxruntime-qnn 2.7.0, for SM8650: tests/test_hexagon.py",
    f"{QNN}/releases/tag/v2.7.0",
)
AFFINITY = Source("onnxruntime-qnn#685: GroupQueryAttention is off unless asked for", f"{QNN}/pull/685")
LAYER_NORM = Source("onnxruntime-qnn#756: a norm and its scale of other signs are not taken", f"{QNN}/pull/756")
RMS_NORM = Source(
    "onnxruntime#26853: the provider takes RMSNormalization as one operator",
    f"{GITHUB}/microsoft/onnxruntime/pull/26853",
)
ACTIVATIONS = Source(
    "onnxruntime-qnn#614: the provider sets the scale of 16 bits behind Sigmoid and Tanh", f"{QNN}/pull/614"
)
INTEGERS = Source(
    "ONNX, DequantizeLinear: an integer is (integer - zero point) x scale, whoever wrote it",
    "https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html",
)

PLACED = "compiled with the CPU disabled"

MOST_RANK = 5
LEVELS = {"UINT8": (0, 255), "INT8": (-128, 127), "UINT16": (0, 2**16 - 1), "INT16": (-(2**15), 2**15 - 1)}
"""Least and largest integer of what activations may be."""

WEIGHTS = {*LEVELS, "INT4", "INT32"}
"""Of constants; INT32 is what biases are."""

FLOATS = {"FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE"}
ROUNDING = {"QuantizeLinear", "DequantizeLinear"}

ON_CPU = {
    ("com.microsoft", "GroupQueryAttention"),
    ("com.microsoft", "RotaryEmbedding"),
    ("com.microsoft", "SkipLayerNormalization"),
    ("com.microsoft", "SkipSimplifiedLayerNormalization"),
}
"""Operators that were not placed, by their domain."""

SCALES = {
    "LayerNormalization": {"UINT16": {"UINT8", "INT16"}, "UINT8": {"UINT8"}, "INT8": {"INT8"}},
    "RMSNormalization": {"UINT16": {"UINT8", "UINT16", "INT16"}, "UINT8": {"UINT8"}, "INT8": set()},
}
"""Formats of a norm's scale that are placed, by that of its activations."""

BOUNDED = {"Sigmoid": (0.0, 1.0), "Tanh": (-1.0, 1.0)}
"""Operators whose 16 bits always reach from one number to another, whatever the graph says."""

CACHE = {"past_": "new_", "new_": "past_"}
"""Beginnings of the names of a cache's inputs and outputs."""

MOVING = {"MatMul", "Reshape", "Transpose", "QuantizeLinear"}
"""What ONNX Runtime moves a Transpose towards, beyond integers that are an output, when it reads them."""


@dataclass(frozen=True)
class Encoding:
    """How integers of a format stand for numbers: ``(integer - zero) * scale``, one or many of them."""

    kind: str
    scale: tuple[float, ...]
    zero: tuple[int, ...]

    @classmethod
    def of(cls, node: GraphNode | None) -> "Encoding | None":
        """Of what a QuantizeLinear writes or a DequantizeLinear reads, where the file says it."""
        if node is None or node.type not in ROUNDING or 1 not in node.held or node.kinds[1] not in FLOATS:
            return None
        scale = tuple(map(float, node.array(1).astype(np.float32).flatten()))
        if 2 in node.held:
            return cls(node.kinds[2], scale, tuple(map(int, node.array(2).astype(np.int64).flatten())))
        kind = node.kinds[0] if node.type == "DequantizeLinear" else "UINT8"
        return cls(kind, scale, (0,) * len(scale))

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest number, where one scale is for all."""
        if self.kind not in LEVELS or len(self.scale) != 1:
            return -math.inf, math.inf
        low, high = LEVELS[self.kind]
        return (low - self.zero[0]) * self.scale[0], (high - self.zero[0]) * self.scale[0]


def _tensors(node: GraphNode) -> Iterator[str]:
    return (name for name in (*node.inputs, *node.outputs) if name)


def _is_dynamic(node: GraphNode) -> bool:
    shapes = node.wires.shapes
    return any(isinstance(side, str) for name in _tensors(node) for side in shapes.get(name, ()))


def _is_too_deep(node: GraphNode) -> bool:
    ranks = [len(node.wires.shapes.get(name, ())) for name in _tensors(node)]
    return max(*ranks, *(len(tensor.dims) for tensor in node.held.values()), 0) > MOST_RANK


def _has_floats_around(node: GraphNode) -> bool:
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


def _has_odd_integers(node: GraphNode) -> bool:
    if node.type not in ROUNDING:
        return False
    if 0 in node.held:
        return node.kinds[0] not in WEIGHTS
    about = Encoding.of(node)
    return about is None or about.kind not in LEVELS


def _lacks_zero_points(node: GraphNode) -> bool:
    """Reads four bits with one scale for a row or for all, and no zero points; blocks do without."""
    return any(
        made.kinds[0] == "INT4" and not made.attributes.get("block_size") and not any(made.inputs[2:])
        for place in range(len(node.inputs))
        if (made := node.maker(place)) and made.type == "DequantizeLinear"
    )


def _norm(node: GraphNode) -> tuple[Encoding, Encoding, str] | None:
    """Of a norm: how its activations and its scale are kept, and the format of its bias, if it has one."""
    if node.type not in SCALES:
        return None
    x, scale = Encoding.of(node.maker(0)), Encoding.of(node.maker(1))
    bias = Encoding.of(node.maker(2))
    return None if x is None or scale is None else (x, scale, bias.kind if bias else "")


def _has_odd_norm_scale(node: GraphNode) -> bool:
    found = _norm(node)
    if found is None or found[0].kind not in SCALES[node.type]:
        return False
    x, scale, bias = found
    if node.type == "LayerNormalization" and x.kind == "UINT16" and bias in LEVELS:
        return False  # a bias in 8 or 16 bits is added behind a norm that is placed in any case
    is_moved = scale.kind == "INT16" and any(scale.zero) and bias == "INT32"
    return scale.kind not in SCALES[node.type][x.kind] or is_moved


def _has_moved_norm_scale(node: GraphNode) -> bool:
    found = _norm(node) if node.type == "LayerNormalization" else None
    if found is None:
        return False
    x, scale, bias = found
    return x.kind == "UINT16" and scale.kind == "INT16" and any(scale.zero) and not bias


def _factors(node: GraphNode) -> tuple[Encoding, Encoding] | None:
    """How both factors of a product are kept, the first of which is not signed and has 16 bits."""
    x, other = (Encoding.of(node.maker(place)) for place in (0, 1)) if node.type == "MatMul" else (None, None)
    return None if x is None or other is None or x.kind != "UINT16" else (x, other)


def _multiplies_unsigned(node: GraphNode) -> bool:
    found = _factors(node)
    return found is not None and found[1].kind == "UINT16" and 1 not in node.held


def _multiplies_moved(node: GraphNode) -> bool:
    found = _factors(node)
    return found is not None and found[1].kind == "INT16" and any(found[1].zero)


def _source(node: GraphNode | None, place: int = 0) -> GraphNode | None:
    """What makes an input, before it is rounded."""
    found = node and node.maker(place)
    while found is not None and found.type in ROUNDING:
        found = found.maker(0)
    return found


def _is_part_of_norm(node: GraphNode) -> bool:
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
    """Name of an input before it is rounded."""
    name, made = node.inputs[place], node.maker(place)
    while made is not None and made.type in ROUNDING:
        name, made = made.inputs[0], made.maker(0)
    return name


def _inverts_small(node: GraphNode) -> bool:
    about = Encoding.of(node.maker(0)) if node.type == "Reciprocal" else None
    return about is not None and about.ends[1] < 1


def _weighs_first(node: GraphNode) -> bool:
    """``weight * (x * Reciprocal(Sqrt(ReduceMean(Pow(x)) + e)))`` in float32."""
    if node.type != "Mul" or 0 not in node.held or node.kinds[0] != "FLOAT":
        return False
    found: GraphNode | None = node
    for kind, place in (("Mul", 1), ("Reciprocal", 1), ("Sqrt", 0), ("Add", 0), ("ReduceMean", 0), ("Pow", 0)):
        found = found and found.maker(place)
        if found is None or found.type != kind:
            return False
    return True


def _turns_output(node: GraphNode) -> bool:
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


def _ends_elsewhere(node: GraphNode) -> bool:
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
    """How an input or output of a cache is kept."""
    if name in wires.inputs:
        return next((about for node in wires.readers[name] if (about := Encoding.of(node))), None)
    return Encoding.of(wires.makers.get(name)) if name in wires.outputs else None


def _has_other_rows(node: GraphNode) -> bool:
    """Rows of a cache that are kept in another way elsewhere: the host moves integers, and knows no scale."""
    about = Encoding.of(node)
    name = node.outputs[0] if node.type == "QuantizeLinear" else node.inputs[0] if node.inputs else ""
    start = next((start for start in CACHE if name.startswith(start)), "")
    if not start or about is None or name not in node.wires.inputs | node.wires.outputs:
        return False
    names = (name, CACHE[start] + name.removeprefix(start))
    found = [_rows(wires, one) for wires in (node.wires, *node.wires.beside) for one in names]
    return any(one is not None and one != about for one in found)


RULES: tuple[GraphRule, ...] = (
    GraphRule("shapes", "blocks", "shapes are fixed, with one graph for each", (PROVIDER, MEASURED), _is_dynamic),
    GraphRule("rank", "blocks", "a tensor has at most 5 dimensions", (DATATYPES, MEASURED), _is_too_deep),
    GraphRule(
        "operator",
        "blocks",
        "operators are those that the provider places: norms that add, and ONNX Runtime's own rotation and attention "
        "run on the CPU",
        (AFFINITY, MEASURED),
        lambda node: (node.domain, node.type) in ON_CPU,
        "ONNX's RMSNormalization and RotaryEmbedding are placed; attention is drawn of products and Softmax",
    ),
    GraphRule(
        "integers",
        "blocks",
        "activations are integers of 8 or 16 bits, and weights of 4 signed, 8 or 16, with scales that the file holds",
        (DATATYPES, MEASURED),
        _has_odd_integers,
    ),
    GraphRule(
        "norm-scale",
        "blocks",
        "the scale of a norm is uint8 where activations are not signed",
        (LAYER_NORM, DATATYPES, MEASURED),
        _has_odd_norm_scale,
        "other formats run on the CPU; but for RMSNormalization of 16 bits, which takes 16 bits, and for int16 without "
        "zero point",
    ),
    GraphRule(
        "norm-scale-zero-point",
        "wrong",
        "the scale of LayerNormalization has no zero point where it is int16 and there is no bias",
        (MEASURED,),
        _has_moved_norm_scale,
        "placed, and 3 dB",
    ),
    GraphRule(
        "zero-point",
        "wrong",
        "weights of 4 bits say their zero points, though they are 0, but for those with a scale for each block",
        (MEASURED,),
        _lacks_zero_points,
        "placed, and -12 dB",
    ),
    GraphRule(
        "multiplier",
        "wrong",
        "the second factor of a product of two activations is int16, where the first is uint16",
        (MEASURED,),
        _multiplies_unsigned,
        "as uint16 it is placed and keeps 8 of its bits: 44 dB where int16 has 80",
    ),
    GraphRule(
        "multiplier-zero-point",
        "blocks",
        "the second factor of a product has no zero point where it is int16, and the first uint16",
        (DATATYPES, MEASURED),
        _multiplies_moved,
    ),
    GraphRule(
        "reciprocal",
        "wrong",
        "what Reciprocal reads has a range that reaches to 1 or beyond; Div takes any",
        (MEASURED,),
        _inverts_small,
        "placed, and the result stays where the range ends at 1: 1 to 20 dB, an RMSNorm of small numbers 1 dB",
    ),
    GraphRule(
        "bounded-output",
        "wrong",
        "integers of 16 bits that are an output behind Sigmoid reach from 0 to 1, behind Tanh from -1 to 1",
        (ACTIVATIONS, MEASURED),
        _ends_elsewhere,
        "placed, and 9 and 5 dB: the scale that the graph gives them is not used",
    ),
    GraphRule(
        "cache-scales",
        "wrong",
        "new rows of a cache have the scale and zero point that cached ones are read with, in every graph",
        (INTEGERS,),
        _has_other_rows,
    ),
    GraphRule(
        "transposed-output",
        "blocks",
        "integers that are an output are not made by a Transpose, if something else reads them or they are an input",
        (MEASURED,),
        _turns_output,
        "ONNX Runtime moves it behind the QuantizeLinear, where the processor does not take it (error 3110)",
    ),
    GraphRule(
        "weight-first",
        "blocks",
        "a norm in float32 that is drawn with Pow and Reciprocal has its weight as the last factor's second",
        (MEASURED,),
        _weighs_first,
        "as the first it does not compile (error 1002)",
    ),
    GraphRule(
        "norm",
        "slows",
        "RMSNorm is one operator, RMSNormalization",
        (RMS_NORM, MEASURED),
        _is_part_of_norm,
        "drawn of others in fixed point, its squares lose small rows: 54 dB where the operator has 80",
    ),
    GraphRule(
        "floats",
        "slows",
        "operators read from DequantizeLinear and write to QuantizeLinear",
        (PROVIDER, MEASURED),
        _has_floats_around,
        "between two of them float is computed in float16: placed, 48 dB where integers have 70",
    ),
)


def multiply_adds(node: GraphNode) -> int:
    """Of a product of fixed shapes; of others what its weights tell."""
    shapes = node.wires.shapes
    made, read = (shapes.get(names[0], ("",)) if names else ("",) for names in (node.outputs, node.inputs))
    if node.type != "MatMul" or not all(isinstance(side, int) for side in (*made, *read)):
        return node.work
    return math.prod(map(int, (*made, read[-1])))


def graphs_of(bundle: Bundle) -> dict[str, Graph]:
    """The graphs that a bundle's parts were compiled from."""
    parts = bundle.manifest.parts
    return beside({name: Graph.open(bundle.file(part.source)) for name, part in parts.items()})


def beside(graphs: dict[str, Graph]) -> dict[str, Graph]:
    """Graphs of one cache, which know of each other from here on."""
    for graph in graphs.values():
        graph.wires.beside = [other.wires for other in graphs.values() if other is not graph]
    return graphs


def broken(path: Path) -> set[str]:
    """Names of the rules that a graph breaks."""
    return graph_rules.broken(path, RULES)

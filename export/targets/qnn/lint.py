"""Limits and errors of Qualcomm's Hexagon processor (HTP): rules as data.

Compiling with the CPU disabled proves where a graph runs, not what it computes. tests/test_hexagon.py compiles graphs
that break the rules of severity ``wrong``, and runs them in Qualcomm's simulator beside the form that we draw.
"""

import math
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.lint import Report, report
from phantom_edge.export.lint.sources import GITHUB, Source
from phantom_edge.export.targets.onnx import rules as graph_rules
from phantom_edge.export.targets.onnx.nodes import Graph, GraphNode
from phantom_edge.export.targets.onnx.rules import GraphRule
from phantom_edge.export.targets.qnn import lint_conditions as when
from phantom_edge.export.targets.qnn.facts import HexagonFacts

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

RULES: tuple[GraphRule, ...] = (
    GraphRule("shapes", "blocks", "shapes are fixed, with one graph for each", (PROVIDER, MEASURED), when.is_dynamic),
    GraphRule("rank", "blocks", "a tensor has at most 5 dimensions", (DATATYPES, MEASURED), when.is_too_deep),
    GraphRule(
        "operator",
        "blocks",
        "operators are those that the provider places: norms that add, and ONNX Runtime's own rotation and attention "
        "run on the CPU",
        (AFFINITY, MEASURED),
        when.is_on_cpu,
        "ONNX's RMSNormalization and RotaryEmbedding are placed; attention is drawn of products and Softmax",
    ),
    GraphRule(
        "integers",
        "blocks",
        "activations are integers of 8 or 16 bits, and weights of 4 signed, 8 or 16, with scales that the file holds",
        (DATATYPES, MEASURED),
        when.has_odd_integers,
    ),
    GraphRule(
        "norm-scale",
        "blocks",
        "the scale of a norm is uint8 where activations are not signed",
        (LAYER_NORM, DATATYPES, MEASURED),
        when.has_odd_norm_scale,
        "other formats run on the CPU; but for RMSNormalization of 16 bits, which takes 16 bits, and for int16 without "
        "zero point",
    ),
    GraphRule(
        "norm-scale-zero-point",
        "wrong",
        "the scale of LayerNormalization has no zero point where it is int16 and there is no bias",
        (MEASURED,),
        when.has_moved_norm_scale,
        "placed, and 3 dB",
    ),
    GraphRule(
        "zero-point",
        "wrong",
        "weights of 4 bits have zero points, though they are 0, but for those with a scale for each block",
        (MEASURED,),
        when.lacks_zero_points,
        "placed, and -12 dB",
    ),
    GraphRule(
        "multiplier",
        "wrong",
        "the second factor of a product of two activations is int16, where the first is uint16",
        (MEASURED,),
        when.multiplies_unsigned,
        "as uint16 it is placed and keeps 8 of its bits: 44 dB where int16 has 80; SM8450 takes uint16 alone",
    ),
    GraphRule(
        "multiplier-zero-point",
        "blocks",
        "the second factor of a product has no zero point where it is int16, and the first uint16",
        (DATATYPES, MEASURED),
        when.multiplies_moved,
    ),
    GraphRule(
        "reciprocal",
        "wrong",
        "the input of Reciprocal has a range that reaches to 1 or beyond; Div takes any",
        (MEASURED,),
        when.inverts_small,
        "placed, and the result stays where the range ends at 1: 1 to 20 dB, an RMSNorm of small numbers 1 dB",
    ),
    GraphRule(
        "bounded-output",
        "wrong",
        "integers of 16 bits that are an output behind Sigmoid reach from 0 to 1, behind Tanh from -1 to 1",
        (ACTIVATIONS, MEASURED),
        when.ends_elsewhere,
        "placed, and 9 and 5 dB: the scale that the graph gives them is not used",
    ),
    GraphRule(
        "cache-scales",
        "wrong",
        "new rows of a cache have the scale and zero point that cached ones are read with, in every graph",
        (INTEGERS,),
        when.has_other_rows,
    ),
    GraphRule(
        "transposed-output",
        "blocks",
        "integers that are an output are not made by a Transpose, if something else reads them or they are an input",
        (MEASURED,),
        when.turns_output,
        "ONNX Runtime moves it behind the QuantizeLinear, where the processor does not take it (error 3110)",
    ),
    GraphRule(
        "weight-first",
        "blocks",
        "a norm in float32 that is drawn with Pow and Reciprocal has its weight as the last factor's second",
        (MEASURED,),
        when.weighs_first,
        "as the first it does not compile (error 1002)",
    ),
    GraphRule(
        "norm",
        "slows",
        "RMSNorm is one operator, RMSNormalization",
        (RMS_NORM, MEASURED),
        when.is_part_of_norm,
        "drawn of others in fixed point, its squares lose small rows: 54 dB where the operator has 80",
    ),
    GraphRule(
        "floats",
        "slows",
        "operators read from DequantizeLinear and write to QuantizeLinear",
        (PROVIDER, MEASURED),
        when.has_floats_around,
        "between two of them float is computed in float16: placed, 48 dB where integers have 70",
    ),
)


def multiply_adds(node: GraphNode) -> int:
    """Counts those of a product of fixed shapes; of others, those with weights."""
    shapes = node.wires.shapes
    made, read = (shapes.get(names[0], ("",)) if names else ("",) for names in (node.outputs, node.inputs))
    if node.type != "MatMul" or not all(isinstance(side, int) for side in (*made, *read)):
        return node.work
    return math.prod(map(int, (*made, read[-1])))


def graphs_of(bundle: Bundle) -> dict[str, Graph]:
    """Opens the source graphs of a bundle's parts."""
    parts = bundle.manifest.parts
    return beside({name: Graph.open(bundle.file(part.source)) for name, part in parts.items()})


def beside(graphs: dict[str, Graph]) -> dict[str, Graph]:
    """Links graphs that share a cache, and returns them."""
    for graph in graphs.values():
        graph.wires.beside = [other.wires for other in graphs.values() if other is not graph]
    return graphs


def broken(path: Path) -> set[str]:
    """Returns the names of the rules that a graph breaks."""
    return graph_rules.broken(path, RULES)


def lint(bundle: Bundle) -> Report:
    """Checks every operation of a bundle's graphs."""
    graphs = {name: graph.nodes for name, graph in graphs_of(bundle).items()}
    return report(bundle.facts(HexagonFacts).name, graphs, RULES, multiply_adds, PLACED)

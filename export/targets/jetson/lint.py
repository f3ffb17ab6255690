"""TensorRT's documented limits on graphs: rules as data, each with its source.

Documents are not TensorRT: only a board proves that it builds an engine.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.export.lint import Report, report
from phantom_edge.export.lint.sources import GITHUB, Source
from phantom_edge.export.targets.jetson.boards import LEAST
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.onnx import rules as graph_rules
from phantom_edge.export.targets.onnx.nodes import Graph, GraphNode
from phantom_edge.export.targets.onnx.rules import GraphRule
from phantom_edge.foundation.errors import EdgeError

NVIDIA = "https://docs.nvidia.com/deeplearning/tensorrt"
OPERATORS = Source("onnx-tensorrt, operators.md of 10.15", f"{GITHUB}/onnx/onnx-tensorrt/blob/main/docs/operators.md")
OPSETS = Source("TensorRT, ONNX Opset Guide", f"{NVIDIA}/latest/reference/onnx-opset-guide.html")
OPSETS_BY_VERSION = Source(
    "TensorRT on Orin: opset 9 to 20 from 10.0 on, to 22 from 10.9 on",
    "https://kvynlim.github.io/industry-research/20-av-platform/compute/tensorrt-deployment-guide",
)
SCHEMES = Source("TensorRT, Quantization Schemes", f"{NVIDIA}/latest/inference-library/quantized-types-schemes.html")
DEQUANTIZE = Source("TensorRT operators, Dequantize", f"{NVIDIA}/operators/docs/Dequantize.html")
LAYER = Source(
    "TensorRT 10, IDequantizeLayer",
    f"{NVIDIA}/api/c_api/classnvinfer1_1_1_i_dequantize_layer.html",
)

DOCUMENTED = "as documented, not run"

LISTED = frozenset(
    (
        *("Add", "And", "Cast", "Concat", "Conv", "DequantizeLinear", "Div", "Equal", "Erf", "Exp", "Expand", "Gather"),
        *(
            "Gemm",
            "Greater",
            "GreaterOrEqual",
            "Identity",
            "LayerNormalization",
            "Less",
            "LessOrEqual",
            "Log",
            "MatMul",
        ),
        *("Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Range", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape"),
        *("Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"),
        "Where",
    )
)
"""Operators that graphs may need and the list has in every version that ``boards.LEAST`` allows."""

LATER = {"Attention": 23, "RMSNormalization": 23, "RotaryEmbedding": 23, "TensorScatter": 24, "Gelu": 22}
"""Least opset of a parser for which operators of later versions are documented."""

TYPES = {"FLOAT", "FLOAT16", "BFLOAT16", "INT32", "INT64", "BOOL", ""}
"""Types of data, not of dequantized weights; "" is a type that the file leaves out."""

BLOCKS = (64, 128)
WEIGHTS = ("INT8", "INT4")


def _is_dequantizing(node: GraphNode) -> bool:
    return node.type == "DequantizeLinear"


def _has_odd_types(node: GraphNode) -> bool:
    kinds = node.kinds[1:] if _is_dequantizing(node) else node.kinds
    return not set(kinds) <= TYPES or (_is_dequantizing(node) and node.kinds[0] not in WEIGHTS)


def _is_not_held(node: GraphNode) -> bool:
    return _is_dequantizing(node) and not {0, 1} <= set(node.held)


def _has_zero_points(node: GraphNode) -> bool:
    if not _is_dequantizing(node) or len(node.inputs) < 3 or not node.inputs[2]:
        return False
    return 2 not in node.held or bool(node.array(2).astype(np.float32).any())


def _has_odd_scales(node: GraphNode) -> bool:
    return _is_dequantizing(node) and 1 in node.held and not bool((node.array(1) > 0).all())


def _has_odd_scale_types(node: GraphNode) -> bool:
    return _is_dequantizing(node) and node.kinds[1] not in ("FLOAT16", "BFLOAT16", "FLOAT")


def _has_odd_blocks(node: GraphNode) -> bool:
    if not _is_dequantizing(node):
        return False
    block = int(node.attributes.get("block_size", 0))
    return (node.kinds[0] == "INT4" and block not in BLOCKS) or (block > 0 and node.kinds[0] != "INT4")


def _blocks_elsewhere(node: GraphNode) -> bool:
    """True for blocks outside the last two dimensions, or scales of another rank."""
    weight, scales = node.shape(0), node.shape(1)
    if not _is_dequantizing(node) or not node.attributes.get("block_size") or weight is None or scales is None:
        return False
    axis = int(node.attributes.get("axis", 1)) % len(weight)
    return axis < len(weight) - 2 or len(scales) != len(weight)


def _has_running_axes(node: GraphNode) -> bool:
    return node.type in ("ReduceMean", "ReduceMax", "ReduceSum", "Squeeze", "Unsqueeze") and 1 not in node.held


def _has_odd_attention(node: GraphNode) -> bool:
    """True for cached keys and values, lengths, or softcap."""
    names = set(node.attributes) & {"softcap", "qk_matmul_output_mode"}
    return node.type == "Attention" and (bool(names) or any(node.inputs[4:]))


def _has_large_constants(node: GraphNode) -> bool:
    """True for numbers of int64 that int32 does not hold; those of shapes have no limit."""
    held = [place for place, kind in enumerate(node.kinds) if kind == "INT64" and place in node.held]
    return any(bool((np.abs(node.array(place)) > 2**31 - 1).any()) for place in held)


RULES: tuple[GraphRule, ...] = (
    GraphRule(
        "opset",
        "blocks",
        "the opset is one that some TensorRT of a JetPack is documented to know",
        (OPSETS, OPSETS_BY_VERSION),
        lambda node: node.opset not in LEAST,
    ),
    GraphRule(
        "domain",
        "blocks",
        "operators are ONNX's own: others need plugins",
        (OPERATORS,),
        lambda node: node.domain not in ("", "ai.onnx"),
    ),
    GraphRule(
        "operator",
        "blocks",
        "operators are in the list",
        (OPERATORS,),
        lambda node: node.type not in LISTED and node.type not in LATER,
    ),
    GraphRule(
        "later-operator",
        "blocks",
        "operators are in the list of the version that the opset is for",
        (OPERATORS, OPSETS_BY_VERSION),
        lambda node: node.opset < LATER.get(node.type, 0),
        "Attention, RMSNormalization and RotaryEmbedding are of opset 23, TensorScatter of 24; Gelu is listed by 10.15",
    ),
    GraphRule(
        "types",
        "blocks",
        "data is float or int32, int64, bool; integers of 8 and 4 bits are weights that are dequantized",
        (OPERATORS,),
        _has_odd_types,
    ),
    GraphRule(
        "constants", "blocks", "weights and scales are there when an engine is built", (DEQUANTIZE,), _is_not_held
    ),
    GraphRule("zero-points", "blocks", "zero points are zero", (OPERATORS, LAYER), _has_zero_points),
    GraphRule(
        "scales",
        "blocks",
        "scales are positive",
        (LAYER,),
        _has_odd_scales,
    ),
    GraphRule("scale-types", "blocks", "scales are of 16 or 32 bits", (DEQUANTIZE, SCHEMES), _has_odd_scale_types),
    GraphRule(
        "block-size", "blocks", "4 bits have a scale for 64 or 128, and 8 bits no blocks", (SCHEMES,), _has_odd_blocks
    ),
    GraphRule("block-axis", "blocks", "blocks lie in one of the last two dimensions", (LAYER,), _blocks_elsewhere),
    GraphRule("axes", "blocks", "axes of reductions and of squeezing are constants", (OPERATORS,), _has_running_axes),
    GraphRule(
        "attention", "blocks", "Attention has no cache, no lengths, no softcap", (OPERATORS,), _has_odd_attention
    ),
    GraphRule(
        "int64",
        "slows",
        "constants of int64 fit into int32",
        (Source("onnx-tensorrt, operators.md of 8.5", f"{GITHUB}/onnx/onnx-tensorrt/blob/main/docs/operators.md"),),
        _has_large_constants,
        "TensorRT 9 and later keep int64; parsers before cut it down",
    ),
)


def graphs_of(bundle: Bundle) -> dict[str, Graph]:
    """Reads a bundle's graphs. Raises EdgeError where its cache is not one array, as TensorRT needs it."""
    manifest = bundle.manifest
    if not manifest.cache.together:
        raise EdgeError(f"the cache of {bundle.path} is not one array, whose rows TensorRT could be given", AGAIN)
    return {name: Graph.open(bundle.file(part.file)) for name, part in manifest.parts.items()}


def broken(path: Path, rules: Sequence[GraphRule] = RULES) -> set[str]:
    """Returns the names of the rules that a graph breaks."""
    return graph_rules.broken(path, rules)


def lint(bundle: Bundle) -> Report:
    """Checks every operation of a bundle's graphs."""
    graphs = {name: graph.nodes for name, graph in graphs_of(bundle).items()}
    return report(bundle.facts(BoardFacts).name, graphs, RULES, lambda node: node.work, DOCUMENTED)

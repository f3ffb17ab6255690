"""Multiply-adds of an operation, from shapes alone."""

import math
from collections.abc import Callable

from phantom_edge.export.interpreters.mil import Constant
from phantom_edge.export.interpreters.mil.blobs import AGAIN
from phantom_edge.export.targets.coreml.lint.nodes import Node
from phantom_edge.foundation.errors import EdgeError


def multiply_adds(node: Node) -> int:
    """Counts those of matrix products and convolutions; 0 for others. A flexible size counts as one.

    Raises EdgeError where the operation's inputs do not fit it.
    """
    count = COUNTS.get(node.type)
    if count is None:
        return 0
    try:
        return count(node)
    except (IndexError, KeyError, ValueError):
        raise EdgeError(f"the shapes of {node} do not fit it", AGAIN) from None


def _shape(node: Node, parameter: str) -> tuple[int, ...]:
    (found,) = node.reads[parameter]
    return tuple(size or 1 for size in found.shape)


def _output_shape(node: Node) -> tuple[int, ...]:
    return tuple(size or 1 for size in node.outputs[0].shape)


def _linear(node: Node) -> int:
    return math.prod(_output_shape(node)) * _shape(node, "weight")[1]


def _matmul(node: Node) -> int:
    is_turned = bool((node.numbers("transpose_x") or (0,))[0])
    return math.prod(_output_shape(node)) * _shape(node, "x")[-2 if is_turned else -1]


def _conv(node: Node) -> int:
    """Weights (rows, C / groups, kernel...): all but the rows for every output number."""
    return math.prod(_output_shape(node)) * math.prod(_shape(node, "weight")[1:])


def _conv_transpose(node: Node) -> int:
    """Weights (C, rows / groups, kernel...): all but the first dimension for every input number."""
    return math.prod(_shape(node, "x")) * math.prod(_shape(node, "weight")[1:])


def _einsum(node: Node) -> int:
    """One for every combination of the letters' values."""
    equation = node.value("equation")
    if not isinstance(equation, Constant) or not isinstance(equation.source, str):
        raise KeyError("equation")
    sizes: dict[str, int] = {}
    for letters, value in zip(equation.source.partition("->")[0].split(","), node.reads["values"], strict=True):
        sizes |= dict(zip(letters.strip(), (size or 1 for size in value.shape), strict=True))
    return math.prod(sizes.values())


def _attention(node: Node) -> int:
    """Queries (..., L, E) by keys (..., S, E), and that (..., L, S) by values (..., S, V)."""
    *rows, width = _output_shape(node)
    return math.prod(rows) * _shape(node, "key")[-2] * (_shape(node, "query")[-1] + width)


COUNTS: dict[str, Callable[[Node], int]] = {
    "linear": _linear,
    "matmul": _matmul,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
}

"""Table of supported operations."""

from collections.abc import Callable

from phantom_edge.export.interpreters.mil.attention import ATTENTION
from phantom_edge.export.interpreters.mil.call import Call, Kernel
from phantom_edge.export.interpreters.mil.elementwise import ELEMENTWISE
from phantom_edge.export.interpreters.mil.indexing import INDEXING
from phantom_edge.export.interpreters.mil.making import MAKING
from phantom_edge.export.interpreters.mil.norms import NORMS
from phantom_edge.export.interpreters.mil.products import PRODUCTS
from phantom_edge.export.interpreters.mil.quantization import QUANTIZATION
from phantom_edge.export.interpreters.mil.reductions import REDUCTIONS
from phantom_edge.export.interpreters.mil.shapes import SHAPES

OPS: dict[str, Callable[[Call], Kernel]] = {
    **ELEMENTWISE,
    **SHAPES,
    **MAKING,
    **INDEXING,
    **PRODUCTS,
    **REDUCTIONS,
    **NORMS,
    **ATTENTION,
    **QUANTIZATION,
}
"""Compilers of operations by type; ``const`` and ``constexpr_*`` are decoded instead (constants.py)."""

MOVES = {
    *("abs", "identity", "logical_not", "maximum", "minimum", "relu", "sign"),
    *("reshape", "transpose", "expand_dims", "squeeze", "concat", "stack", "split", "tile", "reverse", "flatten2d"),
    *("space_to_depth", "depth_to_space", "pixel_shuffle", "pixel_unshuffle", "sliding_windows", "band_part"),
    *("slice_by_index", "slice_by_size", "slice_update", "gather", "gather_along_axis", "gather_nd"),
    *("reduce_max", "reduce_min", "max_pool", "topk", "read_state", "write_state"),
}
"""Operations whose outputs are numbers of their inputs: rounding changes nothing, and nothing can overflow."""

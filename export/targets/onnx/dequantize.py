"""Integers for graphs of standard operators alone: DequantizeLinear before a MatMul, blocks along the sums.

ONNX Runtime fuses the four-bit form into MatMulNBits when it loads the graph; TensorRT and others read it unchanged.
"""

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import Tensor

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized

SIGNED = {8: ir.DataType.INT8, 4: ir.DataType.INT4}
UNSIGNED = {8: ir.DataType.UINT8, 4: ir.DataType.UINT4}


def number_type(scheme: Scheme) -> ir.DataType:
    """Returns the type of a scheme's integers: signed around zero where it needs no zero points, else unsigned."""
    return (SIGNED if scheme.symmetric else UNSIGNED)[8 if scheme.bits == 8 else 4]


def columns_first(weight: Quantized) -> ir.Tensor:
    """Returns integers (columns, rows)."""
    zero, kind = (weight.scheme.middle, np.int8) if weight.scheme.symmetric else (0, np.uint8)
    return _tensor((weight.integers.T.numpy().astype(np.int16) - zero).astype(kind), weight)


def scales_first(weight: Quantized) -> Tensor:
    """Returns scales (groups, rows), or (rows,) where rows are whole."""
    return weight.scales.T if weight.scheme.group else weight.scales[:, 0]


def zeros_first(weight: Quantized) -> ir.Tensor:
    """Returns zero points in the layout of the scales."""
    assert weight.zero_points is not None
    points = weight.zero_points.T if weight.scheme.group else weight.zero_points[:, 0]
    return _tensor(points.numpy(), weight)


def _tensor(values: NDArray[np.integer], weight: Quantized) -> ir.Tensor:
    kind = number_type(weight.scheme)
    four = ml_dtypes.int4 if kind == ir.DataType.INT4 else ml_dtypes.uint4
    values = np.ascontiguousarray(values)
    return ir.Tensor(values if weight.scheme.bits == 8 else values.astype(four), dtype=kind)

"""Graphs for the engines of ONNX Runtime Web: those of target onnx, with other encodings of integers.

WASM is quick at products of bytes, and slow at MatMulNBits, which dequantizes its whole matrix in each run. WebGPU has
MatMulNBits for 4 and 8 bits, and neither MatMulIntegerToFloat nor QuantizeLinear. (Measured with onnxruntime-web 1.30.)
"""

from collections.abc import Callable, Sequence

import torch
from onnx_ir import Value

from phantom_edge.checkpoint.quantized.files import INTEGERS, SCALES
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.dequantize import scales_first
from phantom_edge.export.targets.onnx.graph import Drawing


class WasmDecoderDrawing(DecoderDrawing):
    """A decoder whose rows of bytes are multiplied as bytes, also those of a head that is the table of embeddings."""

    def _encoding(self, scheme: Scheme, is_table: bool) -> Callable[..., Value]:
        is_bytes = scheme.group is None and scheme.bits == 8 and not scheme.static_inputs
        if is_table and is_bytes and self.dtype == torch.float32:
            return self._table
        return super()._encoding(scheme, is_table)

    def _table(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], scheme: Scheme, bias: Value | None
    ) -> Value:
        """Integer product with a table kept row by row, as programs read it: ONNX Runtime turns it when it loads it."""
        made = self._reader(names)
        rows = self.raw(f"{key}.{INTEGERS}", shape, f"int{scheme.bits}", made(lambda weight: weight.integers))
        scales = self.weight(f"{key}.{SCALES}", shape[:1], made(scales_first))
        turned, zero = self.op("Transpose", rows, perm=[1, 0]), self.byte(scheme.middle)
        return self._by_rows(
            x,
            scheme,
            bias,
            lambda integers, one, middle: self.byte_product(integers, one, middle, turned, scales, zero),
        )


class GpuDecoderDrawing(DecoderDrawing):
    """A decoder whose integers, of rows and of groups, are multiplied by MatMulNBits."""

    def _encoding(self, scheme: Scheme, is_table: bool) -> Callable[..., Value]:
        return self._rounded


def is_alike(one: Drawing, other: Drawing) -> bool:
    """True where two drawings of a part are the same graph."""
    return _nodes(one) == _nodes(other) and _weights(one) == _weights(other)


def reads_weights_of(one: Drawing, other: Drawing) -> bool:
    """True where ``other``, a drawing of the same part, has all weights of ``one`` in the same form."""
    return _weights(one).items() <= _weights(other).items()


def _nodes(drawing: Drawing) -> list[tuple[str, str]]:
    return [(node.domain, node.op_type) for node in drawing.tape.nodes]


def _weights(drawing: Drawing) -> dict[str, tuple[str, str]]:
    """Format and shape of each initializer outside the graph's own file."""
    found = {}
    for value in drawing.tape.initializers:
        tensor = value.const_value
        assert value.name is not None and tensor is not None
        if tensor.nbytes >= drawing.small:
            found[value.name] = (str(tensor.dtype), str(tensor.shape))
    return found

"""Graphs for TensorRT: operators that its parser is documented to take, in the least opset that has them.

JetPack 6 carries TensorRT 10.3, whose parser takes opset 20: no RMSNormalization, no RotaryEmbedding, no Attention.
Blocks of a row that share a scale, and integers of 4 bits, are of opset 21.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import Value

from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, stacked
from phantom_edge.export.parts.cache import cache_of
from phantom_edge.export.parts.embedding import NUMBERS
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.targets.onnx.attention import cache_inputs
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.graph import TYPES
from phantom_edge.export.targets.onnx.linear import LinearDrawing, WeightReader
from phantom_edge.export.targets.onnx.vision import VisionDrawing
from phantom_edge.foundation.errors import EdgeError

PLAIN, BLOCKS = 20, 21
IR_VERSIONS = {PLAIN: 9, BLOCKS: 10}
"""Version of the file format that came with each opset."""

SMALL = 2**13
"""Maximum size of tensors in the graph's own file, bytes: shape inference reads the places of splits, one number a
head, without the weights."""


def opset_for(schemes: Mapping[str, Scheme]) -> int:
    """Returns the least opset that holds weights of these schemes."""
    return BLOCKS if any(scheme.group for scheme in schemes.values()) else PLAIN


class PlainDrawing(LinearDrawing):
    """Draws linear layers as DequantizeLinear and MatMul, GELU by Erf: Gelu is documented only for later versions."""

    def limit(self) -> None:
        """Set the graph's opset to the least."""
        opset = opset_for({} if self.integers is None else self.integers.schemes)
        self.opsets[""], self.ir_version, self.small = opset, IR_VERSIONS[opset], SMALL

    def gelu(self, x: Value) -> Value:
        """``x / 2 * (1 + erf(x / sqrt(2)))``."""
        curve = self.op("Erf", self.op("Mul", x, self.held_once("root_half", torch.tensor(math.sqrt(0.5)))))
        half = self.op("Mul", x, self.held_once("half", torch.tensor(0.5)))
        return self.op("Mul", half, self.op("Add", curve, self.held_once("one", torch.tensor(1.0))))

    def _reader(self, names: Sequence[str]) -> WeightReader:
        integers = self.integers
        assert integers is not None
        return lambda array: lambda: array(_positive(names, stacked([integers.quantized(name) for name in names])))


def _positive(names: Sequence[str], weight: Quantized) -> Quantized:
    """Returns the weight. Raises EdgeError for scales that TensorRT does not take."""
    if not bool((weight.scales > 0).all()):
        raise EdgeError(
            f"{names[0]} has scales that are not positive, which TensorRT does not take",
            "quantize the float checkpoint: phantom-edge quantize --recipe int8, or int4-g64",
        )
    return weight


class TrtVisionDrawing(PlainDrawing, VisionDrawing):
    """VisionDrawing for TensorRT."""


class TrtDecoderDrawing(PlainDrawing, DecoderDrawing):
    """DecoderDrawing for TensorRT, over one buffer of rows for all layers (``bundle.manifest.Cache.together``)."""

    def _past(self, forms: Sequence[LayerForm]) -> dict[str, Value]:
        cache = cache_of(self.config, forms, NUMBERS[self.dtype], 1, "one growing array", "position_ids")
        self.width, _ = cache.buffers()["rows"]
        widths = {
            cache_inputs(layer, head)[place]: width
            for layer, pair in enumerate(zip(cache.key_widths, cache.value_widths, strict=True))
            for place, width in enumerate(pair)
            for head in range(self.kv_heads)
        }
        rows = self.input("past_rows", ("P", self.width))
        sizes = [*widths.values()]
        self.padding = self.width - sum(sizes)
        if self.padding:
            sizes.append(self.padding)
        parts = self.ops("Split", rows, self.ints(*sizes), outputs=len(sizes), axis=1)
        return dict(zip(widths, parts, strict=False))

    def _hand_out(self) -> None:
        parts = [self.new[name.replace("past_", "new_")] for name in self.past]
        if self.padding:
            shape = self.op("Concat", self._length(), self.ints(self.padding), axis=0)
            parts.append(self.op("Expand", self.held_once("zero", torch.tensor(0.0)), shape))
        self.output(self.op("Concat", *parts, axis=1), "new_rows", ("N", self.width))

    def _mask_of_past(self, past_shape: Value, window: int | None) -> Value | None:
        """Masks row 0, which is blank, by a position that no query reaches."""
        count = self.op("Sub", self.op("Gather", past_shape, self.scalar(0)), self.scalar(1))
        places = self.reshape(self.op("Range", self.scalar(-1), count, self.scalar(1)), -1, 1)
        blank = self.op("Less", places, self.scalar(0))
        return self._mask(self.op("Where", blank, self.scalar(2**30), places), window)

    def _norm(self, x: Value, name: str) -> Value:
        """Norm with squares summed in float32: squares of 256 or more overflow float16."""
        weight = self.weight(name, (self.config.hidden_size,), lambda: self.read(name))
        wide = self.op("Cast", x, to=ir.DataType.FLOAT)
        mean = self.op("ReduceMean", self.op("Mul", wide, wide), self.ints(-1), keepdims=1)
        size = self.op("Sqrt", self.op("Add", mean, self._single("rms_norm_eps", self.config.rms_norm_eps)))
        normed = self.op("Cast", self.op("Div", wide, size), to=TYPES[self.dtype])
        return self.op("Mul", normed, weight)

    def _single(self, name: str, value: float) -> Value:
        """Returns a constant in float32, in graphs of any precision."""
        if (name,) not in self.constants:
            array = np.array(value, np.float32)
            self.constants[name,] = self.tape.initializer(ir.tensor(array, name=name), name)
        return self.constants[name,]

    def _rotated(self, x: Value, heads: int) -> Value:
        cosines, sines = (self._turns(number) for number in (0, 1))
        first, second = self.ops("Split", self.reshape(x, 0, heads, self.dim), outputs=2, axis=-1, num_outputs=2)
        turned = self.op("Sub", self.op("Mul", first, cosines), self.op("Mul", second, sines))
        other = self.op("Add", self.op("Mul", second, cosines), self.op("Mul", first, sines))
        return self.op("Concat", turned, other, axis=-1)

    def _turns(self, number: int) -> Value:
        """Returns cosines or sines (N, 1, d / 2), shared by all layers."""
        if ("turns", number) not in self.constants:
            rows = self.op("Gather", self.tables[number], self.reshape(self.positions, -1), axis=0)
            self.constants["turns", number] = self.op("Unsqueeze", rows, self.ints(1))
        return self.constants["turns", number]

    def _parted(self, weights: Value) -> Sequence[Value]:
        """Splits by Slice, whose places may be inputs at run time; for Split that is not documented."""
        start, axis = self.ints(0), self.ints(1)
        of_past = self.op("Slice", weights, start, self.past_length, axis)
        return of_past, self.op("Slice", weights, self.past_length, self.ints(2**31 - 1), axis)

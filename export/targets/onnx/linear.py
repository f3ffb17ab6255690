"""Linear layers of an ONNX graph, in float or as the integers of a quantized checkpoint."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir import Value
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import INTEGERS, SCALES, ZEROS, QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, stacked
from phantom_edge.export.parts.packing import blobs, block_scales, carried, is_plain, zeros
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.onnx.dequantize import columns_first, number_type, scales_first, zeros_first
from phantom_edge.export.targets.onnx.graph import ROUNDING, Drawing

T = TypeVar("T")

LARGEST = 127.0
LEAST_SCALES = {torch.float32: 1e-6, torch.float16: 2.0**-14}
"""Largest integer, and least scales, of rows that are rounded to 8 bits. Below float16's normal numbers a scale
would be so coarse that integers exceed the largest."""

ACCURACY = 4
"""Accuracy level of MatMulNBits at which activations are rounded to 8 bits, block by block."""


class LinearDrawing(Drawing):
    """A drawing whose linear layers are quantized where ``integers`` has their weights.

    ``asked`` are rows that the caller of the graph chooses: there may be none. ``fixed_rows`` counts those of
    what is multiplied, where a graph fixes it.
    """

    asked: Value | None = None
    fixed_rows: int | None = None

    def __init__(
        self,
        name: str,
        dtype: torch.dtype,
        read: Read,
        integers: QuantizedFiles | None = None,
        *,
        opset_only: bool = False,
    ) -> None:
        super().__init__(name, dtype)
        self.read, self.integers, self.opset_only = read, integers, opset_only

    def scheme(self, name: str) -> Scheme | None:
        """Returns a weight's scheme, None where it is float."""
        return None if self.integers is None else self.integers.schemes.get(name)

    def linear(
        self,
        x: Value,
        key: str,
        names: Sequence[str],
        rows: Sequence[int],
        columns: int,
        bias: Value | None = None,
        *,
        is_table: bool = False,
    ) -> Value:
        """Product of ``x`` (N, columns) and stacked weights (rows, columns), which share the name ``key``.

        ``is_table``: the weight is a lookup table, too, and is stored by rows.
        """
        parts = [
            (scheme, list(part))
            for scheme, part in groupby(zip(names, rows, strict=True), key=lambda one: self.scheme(one[0]))
        ]
        found = []
        for number, (scheme, part) in enumerate(parts):
            name = key if len(parts) == 1 else f"{key}.{number}"
            own_bias = bias if len(parts) == 1 else None
            own_names, count = [one for one, _ in part], sum(size for _, size in part)
            if scheme is None:
                found.append(self._float(x, name, own_names, (count, columns), own_bias))
            else:
                found.append(self._encoding(scheme, is_table)(x, name, own_names, (count, columns), scheme, own_bias))
        if len(found) == 1:
            return found[0]
        joined = self.op("Concat", *found, axis=-1)
        return joined if bias is None else self.op("Add", joined, bias)

    def _float(self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], bias: Value | None) -> Value:
        weight = self.weight(key, shape, lambda: torch.cat([self.read(name) for name in names]))
        return self.op("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)

    def _encoding(self, scheme: Scheme, is_table: bool) -> Callable[..., Value]:
        if self.opset_only:
            return self._dequantized
        if scheme.static_inputs:
            return self._static
        if scheme.group is None and scheme.bits == 8 and self.dtype == torch.float32 and not is_table:
            return self._integer
        return self._rounded

    def _integer(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], scheme: Scheme, bias: Value | None
    ) -> Value:
        """Integer product: each row of ``x`` is rounded to 8 bits by its own largest number.

        Several times as fast as MatMulNBits for many rows, and as fast for one.
        """
        return self._by_rows(
            x,
            scheme,
            bias,
            lambda integers, one, middle: self._byte_product(integers, one, middle, key, names, shape, scheme),
        )

    def _by_rows(
        self, x: Value, scheme: Scheme, bias: Value | None, product: Callable[[Value, Value, Value], Value]
    ) -> Value:
        """Rounds each row of ``x`` by its own scale; ``product`` takes the bytes, the scale 1 and their zero point."""
        one, middle = self.held_once("one", torch.tensor(1.0)), self.byte(scheme.middle)
        size, rows = self.row_scales(x), self.fixed_rows
        if rows is None:
            integers = self.rounding("QuantizeLinear", self.rounding("Div", x, size), one, middle)
        else:
            zeros = self._bytes_once(f"uint8_{scheme.middle}_{rows}", np.full(rows, scheme.middle, np.uint8))
            integers = self.rounding("QuantizeLinear", x, self.reshape(size, rows), zeros, axis=0)
        found = self.rounding("Mul", product(integers, one, middle), size)
        return found if bias is None else self.op("Add", found, bias)

    def _static(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], scheme: Scheme, bias: Value | None
    ) -> Value:
        """Integer product: ``x`` is rounded to 8 bits by the scale of calibration."""
        if self.dtype != torch.float32:
            return self._dequantized(x, key, names, shape, scheme, bias)
        clamped, scale, zero_point = self._fixed(x, names[0])
        integers = self.rounding("QuantizeLinear", clamped, scale, zero_point)
        return self._byte_product(integers, scale, zero_point, key, names, shape, scheme, bias)

    def _byte_product(
        self,
        integers: Value,
        scale: Value,
        zero_point: Value,
        key: str,
        names: Sequence[str],
        shape: tuple[int, int],
        scheme: Scheme,
        bias: Value | None = None,
    ) -> Value:
        """Product of ``(integers - zero_point) * scale`` and weights with a scale per row."""
        rows, columns = shape
        made = self._reader(names)
        weight = self.packed(f"{key}.{INTEGERS}", (columns, rows), scheme, made(columns_first))
        scales = self.weight(f"{key}.{SCALES}", (rows,), made(scales_first))
        return self.byte_product(integers, scale, zero_point, weight, scales, None, bias)

    def byte_product(
        self,
        integers: Value,
        scale: Value,
        zero_point: Value,
        weight: Value,
        scales: Value,
        weight_zero: Value | None = None,
        bias: Value | None = None,
        *,
        is_rounding: bool = False,
    ) -> Value:
        """Product of ``(integers - zero_point) * scale`` and ``(weight - weight_zero) * scales`` (columns, rows).

        ``is_rounding``: both sides are activations; without rounding it is their product.
        """
        inputs: list[Value | None] = [integers, weight, scale, scales, zero_point, weight_zero, bias]
        while inputs[-1] is None:
            inputs.pop()
        self.opsets["com.microsoft"] = 1
        name = self.called("MatMulIntegerToFloat")
        name = f"{ROUNDING}{name or len(self.tape.nodes)}" if is_rounding else name
        found: Value = self.tape.op("MatMulIntegerToFloat", inputs, {}, domain="com.microsoft", name=name)
        return found

    def _fixed(self, x: Value, name: str) -> tuple[Value, Value, Value]:
        """Clips ``x`` to the calibrated range of a weight's inputs; returns their scale and zero point, too."""
        assert self.integers is not None
        about = self.integers.about.inputs[name]
        scale = self.held(f"{name}.input_scale", torch.tensor(about.scale))
        ends = [
            self.held(f"{name}.{end}", torch.tensor(value)) for end, value in (("low", about.low), ("high", about.high))
        ]
        return self.op("Clip", x, *ends), scale, self.byte(about.zero_point)

    def row_scales(self, rows: Value) -> Value:
        """Scales (..., 1) by which a row's largest magnitude becomes 127."""
        largest = self.op("ReduceMax", self.op("Abs", rows), self.ints(-1), keepdims=1)
        if rows is self.asked:  # ONNX Runtime 1.31 reduces zero rows to (0, columns)
            largest = self.op("Slice", largest, self.ints(0), self.ints(1), self.ints(-1))
        scales = self.op("Mul", largest, self.held_once("step", torch.tensor(1 / LARGEST)))
        return self.op("Max", scales, self.held_once("least_scale", torch.tensor(LEAST_SCALES[self.dtype])))

    def byte(self, value: int) -> Value:
        """Returns a constant uint8 scalar."""
        return self._bytes_once(f"uint8_{value}", np.array(value, np.uint8))

    def _bytes_once(self, name: str, array: NDArray[np.uint8]) -> Value:
        if (name,) not in self.constants:
            self.constants[name,] = self.tape.initializer(ir.tensor(array, name=name), name)
        return self.constants[name,]

    def _rounded(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], scheme: Scheme, bias: Value | None
    ) -> Value:
        """Product by MatMulNBits, which holds 3 bits in 4."""
        rows, columns = shape
        bits, block = carried(scheme)
        blocks = -(-columns // block)
        made = self._reader(names)
        inputs: list[Value | None] = [
            x,
            self.raw(f"{key}.{INTEGERS}", (rows, blocks, block * bits // 8), f"int{scheme.bits}", made(blobs)),
            self.weight(f"{key}.{SCALES}", (rows, blocks), made(block_scales)),
            None,
            None,
            bias,
        ]
        if not is_plain(scheme):
            width = -(-blocks * bits // 8)
            inputs[3] = self.raw(f"{key}.{ZEROS}", (rows, width), f"int{scheme.bits}", made(zeros))
        while inputs[-1] is None:
            inputs.pop()
        self.opsets["com.microsoft"] = 1
        found: Value = self.tape.op(
            "MatMulNBits",
            inputs,
            {"K": columns, "N": rows, "bits": bits, "block_size": block, "accuracy_level": ACCURACY},
            domain="com.microsoft",
            name=self.called("MatMulNBits"),
        )
        return found

    def _dequantized(
        self, x: Value, key: str, names: Sequence[str], shape: tuple[int, int], scheme: Scheme, bias: Value | None
    ) -> Value:
        """Product by the standard operators DequantizeLinear and MatMul; 3 bits are held in 4."""
        rows, columns = shape
        made = self._reader(names)
        if scheme.static_inputs:
            clamped, *about = self._fixed(x, names[0])
            x = self.rounding("DequantizeLinear", self.rounding("QuantizeLinear", clamped, *about), *about)
        scales = (columns // scheme.group, rows) if scheme.group else (rows,)
        inputs = [
            self.packed(f"{key}.{INTEGERS}", (columns, rows), scheme, made(columns_first)),
            self.weight(f"{key}.{SCALES}", scales, made(scales_first)),
        ]
        if not scheme.symmetric:
            inputs.append(self.packed(f"{key}.{ZEROS}", scales, scheme, made(zeros_first)))
        places = {"axis": 0, "block_size": scheme.group} if scheme.group else {"axis": 1}
        found = self.op("MatMul", x, self.op("DequantizeLinear", *inputs, **places))
        return found if bias is None else self.op("Add", found, bias)

    def _reader(self, names: Sequence[str]) -> "WeightReader":
        """Returns a reader of the stacked integers of ``names``."""
        integers = self.integers
        assert integers is not None
        return lambda array: lambda: array(stacked([integers.quantized(name) for name in names]))

    def packed(self, name: str, shape: Sequence[int], scheme: Scheme, make: Callable[[], ir.Tensor]) -> Value:
        """Adds an initializer of a scheme's integers."""
        self.kinds[name] = f"int{scheme.bits}"

        def read() -> ir.TensorProtocol:
            tensor = make()
            assert tuple(tensor.shape) == tuple(shape), (name, tensor.shape, shape)
            return tensor

        return self.tape.initializer(ir.LazyTensor(read, number_type(scheme), ir.Shape(shape), name=name), name)

    def raw(self, name: str, shape: Sequence[int], kind: str, make: Callable[[], Tensor]) -> Value:
        """Adds an initializer of bytes; ``kind`` is the number format that they pack."""
        self.kinds[name] = kind

        def read() -> ir.TensorProtocol:
            tensor = make().contiguous()
            assert tuple(tensor.shape) == tuple(shape) and tensor.dtype == torch.uint8, (name, tensor.shape, shape)
            return ir.tensor(tensor.numpy(), name=name)

        return self.tape.initializer(ir.LazyTensor(read, ir.DataType.UINT8, ir.Shape(shape), name=name), name)


class WeightReader(Protocol):
    """Binds a function of a quantized weight to that weight, which is read at the call."""

    def __call__(self, array: Callable[[Quantized], T], /) -> Callable[[], T]:
        """Returns the bound function; nothing is read yet."""

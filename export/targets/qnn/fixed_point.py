"""Graphs in fixed point: every tensor between two operators is an integer of 16 bits with a scale that never changes.

A graph is drawn twice. Without ranges it computes in float32, and returns the least and largest number of every tensor,
for calibration. With ranges it has QuantizeLinear and DequantizeLinear after every operator, from which a compiler for
fixed-point hardware reads the scale of a tensor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir import Value
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.onnx.linear import LinearDrawing

LEVELS = 2**16
HEADROOM = 1.25
"""Widening of calibrated ranges: a third of a bit, for inputs that differ a little."""

LEAST = 1e-8
"""Minimum scale: below it a tensor is practically 0."""

MOVED = frozenset(("Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze"))
"""Operators that compute nothing: their outputs have the scale of their inputs."""

BOUNDED = frozenset(("Sigmoid", "Softmax"))
"""Operators whose outputs lie between 0 and 1."""

ROUNDED = ".integers"
"""Suffix of the name of a tensor's integers; those of its scale and zero point are ``.scale`` and ``.zero``."""

LOW, HIGH = "low.", "high."
"""Prefixes of the outputs of a calibration graph."""


@dataclass(frozen=True)
class Range:
    """Least and largest number of a tensor, 0 among them."""

    low: float
    high: float

    @classmethod
    def of(cls, tensor: Tensor) -> "Range":
        """Returns the range of a constant, without headroom."""
        return cls(min(float(tensor.min()), 0.0), max(float(tensor.max()), 0.0)).even()

    @property
    def scale(self) -> float:
        """Scale of ``(integer - zero_point) * scale``, with integers from 0 to 65535."""
        return max(float(np.float32((self.high - self.low) / (LEVELS - 1))), LEAST)

    @property
    def zero_point(self) -> int:
        """Integer that stands for 0."""
        return min(max(round(-self.low / self.scale), 0), LEVELS - 1)

    def __or__(self, other: "Range") -> "Range":
        return Range(min(self.low, other.low), max(self.high, other.high))

    def even(self) -> "Range":
        """Returns a range that is symmetric but for one level more below 0: its zero point is the middle level."""
        middle = LEVELS // 2
        return Range(-self.size * middle / (middle - 1), self.size)

    def wider(self) -> "Range":
        """Returns a range with headroom, in which no end is nearer to 0 than half the other: samples are few."""
        low, high = self.low * HEADROOM, self.high * HEADROOM
        return Range(min(low, -high / 2), max(high, -low / 2)) if low and high else Range(low, high)

    @property
    def size(self) -> float:
        """Largest magnitude."""
        return max(-self.low, self.high)


Ranges = Mapping[str, Range]


class FixedDrawing(LinearDrawing):
    """A drawing whose tensors have the scales of ``ranges``; without them, one for calibration.

    Tensors are called ``part`` and a number, in the order of drawing: graphs that are drawn alike share their names,
    and with them their scales.
    """

    def __init__(self, name: str, read: Read, integers: QuantizedFiles | None, ranges: Ranges | None) -> None:
        super().__init__(name, torch.float32, read, integers, opset_only=True)
        self.ranges = ranges
        self.part, self.number = name, 0
        self.watched: dict[str, Value] = {}
        self.names: dict[Value, str] = {}
        self.scales: dict[Value, tuple[Value, Value]] = {}

    def begin(self, part: str) -> None:
        """Begins a part: the names of tensors drawn from here on begin with ``part``."""
        self.part, self.number = part, 0

    def op(self, kind: str, *inputs: Value | None, called: str = "", **attributes: Any) -> Value:
        """Adds a node and returns its one output, in fixed point; ``called`` is its name in the ranges."""
        found = super().op(kind, *inputs, **attributes)
        if kind in ("QuantizeLinear", "DequantizeLinear"):
            return found
        if kind in MOVED:
            return self._moved(found, inputs[0])
        return self.fixed(found, called or self._next(), Range(0.0, 1.0) if kind in BOUNDED else None)

    def ops(self, kind: str, *inputs: Value | None, outputs: int, **attributes: Any) -> Sequence[Value]:
        """Adds a node that only moves its input, and returns its several outputs."""
        assert kind in MOVED, kind
        found = super().ops(kind, *inputs, outputs=outputs, **attributes)
        return [self._moved(one, inputs[0]) for one in found]

    def fixed(self, value: Value, name: str, known: Range | None = None) -> Value:
        """Returns ``value`` with the scale of its name, or of a known range."""
        if self.ranges is None:
            assert name not in self.watched, name
            if known is None:
                self.watched[name] = value
            self.names[value] = name
            return value
        found = self._rounded_by(value, self._scale_of(name, known or self.ranges[name]))
        self.names[found] = name
        self._integers(found).name = f"{name}{ROUNDED}"
        return found

    def integers_in(self, name: str, shape: Sequence[int], like: Value) -> Value:
        """Adds a graph input in integers, with the scale of ``like``."""
        if self.ranges is None:
            return self.input(name, shape)
        return self._decoded(self.input(name, shape, ir.DataType.INT16), self.scales[like])

    def integers_out(self, value: Value, name: str, shape: Sequence[int]) -> None:
        """Make integers a graph output, in the form of ``integers_in``."""
        if self.ranges is None:
            self.output(value, name, shape)
            return
        self.output(self._integers(value), name, shape, ir.DataType.INT16)

    def static(self, name: str, tensor: Tensor) -> Value:
        """Returns a constant in 16 bits, with a scale of its own."""
        tensor = tensor.detach().float().contiguous()
        if self.ranges is None:
            return self.held(name, tensor)
        about = Range.of(tensor)
        whole = (tensor.double() / about.scale).round().add(about.zero_point).clamp(0, LEVELS - 1)
        array = whole.numpy().astype(np.uint16)
        self.kinds[name] = "uint16"
        integers = self.tape.initializer(ir.tensor(array, name=name), name)
        return self.op("DequantizeLinear", integers, *self._scale_of(name, about))

    def static_once(self, name: str, tensor: Tensor) -> Value:
        """Returns one shared constant per name."""
        if ("static", name) not in self.constants:
            self.constants["static", name] = self.static(name, tensor)
        return self.constants["static", name]

    def multiplier(self, x: Value) -> Value:
        """Returns ``x`` as second factor of a matrix product: signed, around zero.

        ONNX Runtime keeps only 8 of the 16 bits of an unsigned one.
        """
        if self.ranges is None:
            return x
        name = self.names[x]
        scale = self.ranges[name].even().scale
        found = self._rounded_by(x, self._around_zero(f"{name}.signed", scale))
        self.names[found] = name
        return found

    def bytes_once(self, name: str, tensor: Tensor) -> Value:
        """Returns one shared constant per name, of numbers from 0 on, in 8 bits."""
        if ("bytes", name) not in self.constants:
            scale = np.float32(float(tensor.max()) / 255)
            whole = (tensor / float(scale)).round().numpy().astype(np.uint8)
            self.kinds[name] = "uint8"
            held = [
                self.tape.initializer(ir.tensor(array, name=one), one)
                for one, array in (
                    (name, whole),
                    (f"{name}.scale", np.array(scale)),
                    (f"{name}.zero", np.array(0, np.uint8)),
                )
            ]
            self.constants["bytes", name] = self.op("DequantizeLinear", *held)
        return self.constants["bytes", name]

    def output_ranges(self) -> None:
        """Add the least and the largest number of every tensor to the outputs."""
        for name, value in self.watched.items():
            for start, kind in ((LOW, "ReduceMin"), (HIGH, "ReduceMax")):
                self.output(self.tape.op(kind, [value], {"keepdims": 0}), f"{start}{name}", ())

    def _integers(self, value: Value) -> Value:
        """Returns a tensor's integers, before they are decoded."""
        decode = value.producer()
        assert decode is not None and decode.op_type == "DequantizeLinear" and decode.inputs[0] is not None
        found: Value = decode.inputs[0]
        return found

    def _next(self) -> str:
        self.number += 1
        return f"{self.part}.{self.number}"

    def _moved(self, value: Value, source: Value | None) -> Value:
        assert source is not None
        found = value if self.ranges is None else self._rounded_by(value, self.scales[source])
        self.names[found] = self.names[source]
        return found

    def _rounded_by(self, value: Value, about: tuple[Value, Value]) -> Value:
        return self._decoded(self.rounding("QuantizeLinear", value, *about), about)

    def _decoded(self, integers: Value, about: tuple[Value, Value]) -> Value:
        found = self.rounding("DequantizeLinear", integers, *about)
        self.scales[found] = about
        return found

    def _around_zero(self, name: str, scale: float) -> tuple[Value, Value]:
        """Returns scale and zero point of signed integers."""
        return self._held_scale(name, np.float32(scale), np.int16(0))

    def _scale_of(self, name: str, about: Range) -> tuple[Value, Value]:
        return self._held_scale(name, np.float32(about.scale), np.uint16(about.zero_point))

    def _held_scale(self, name: str, *values: np.generic) -> tuple[Value, Value]:
        scale, zero = (
            self.tape.initializer(ir.tensor(np.array(value), name=f"{name}.{what}"), f"{name}.{what}")
            for what, value in zip(("scale", "zero"), values, strict=True)
        )
        return scale, zero

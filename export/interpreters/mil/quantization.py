"""Quantization of activations, and states. Definitions: ops/defs/iOS17/quantization_ops.py, iOS18/states.py."""

from collections.abc import Callable

from torch import Tensor

from phantom_edge.export.interpreters.mil.call import Call, Kernel
from phantom_edge.export.interpreters.mil.formats import FORMATS, LARGEST, SMALLEST

Make = Callable[[Call], Kernel]


def _sizes(call: Call) -> list[int] | None:
    """Shape of scales beside the input, None for a single one."""
    if call.rank("scale") == 0:
        if call.has("axis"):
            raise call.refuse("an axis with a single scale")
        return None
    axis = call.axis("axis", None, call.rank("input"))
    return [-1 if one == axis else 1 for one in range(call.rank("input"))]


def quantize(call: Call) -> Kernel:
    """``round(input / scale) + zero_point``, clamped to ``output_dtype``; not rounded in mode smooth."""
    call.takes("input", "scale")
    call.takes_if_given("zero_point")
    sizes, name = _sizes(call), call.format("output_dtype")
    if name not in LARGEST:
        raise call.refuse(f"output_dtype {name} is not understood")
    least, largest, dtype = SMALLEST[name], LARGEST[name], FORMATS[name].tensor
    is_smooth = call.is_smooth

    def kernel(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        found = x / (scale if sizes is None else scale.reshape(sizes))
        found = found if is_smooth else found.round()
        if zero is not None:
            found = found + (zero if sizes is None else zero.reshape(sizes))
        found = found.clamp(least, largest)
        return found if is_smooth else found.to(dtype)

    return kernel


def dequantize(call: Call) -> Kernel:
    """``(input - zero_point) * scale``."""
    call.takes("input", "scale")
    call.takes_if_given("zero_point")
    sizes = _sizes(call)

    def kernel(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        found = x.float()
        if zero is not None:
            found = found - (zero if sizes is None else zero.reshape(sizes)).float()
        return found * (scale if sizes is None else scale.reshape(sizes))

    return kernel


def read_state(call: Call) -> Kernel:
    """The state's tensor. No kernel alters tensors, so it need not be copied."""
    call.takes("input")
    return lambda x: x


def write_state(call: Call) -> Kernel:
    """Sets the state to ``data``."""
    call.single("input")
    call.takes("data")
    return lambda x: x


QUANTIZATION: dict[str, Make] = {
    "quantize": quantize,
    "dequantize": dequantize,
    "read_state": read_state,
    "write_state": write_state,
}

"""Small fixed-point graphs, in forms that Qualcomm's processor computes right and in forms that it does not."""

from typing import Any

import numpy as np
from fixed_point_net import GAMMA, HEADS, INT4, RNG, ROWS, UINT16, WEIGHT, WIDTH, Array, Net, X, ends
from onnx import TensorProto, numpy_helper


def product(four: str, kind: int = INT4) -> Net:
    """A product with a 4-bit weight: ``four`` names the extent of a scale, and whether there are zero points."""
    net = Net()
    x = net.start()
    shape: tuple[int, ...] = {"row": (WIDTH,), "tensor": (), "block": (WIDTH // 32, WIDTH)}[four.split()[0]]
    blocks = WEIGHT.reshape(-1, 32, WIDTH) if len(shape) == 2 else WEIGHT[None]
    size = np.abs(blocks).max((0, 1, 2) if not shape else 1, keepdims=True) / 7
    integers = np.clip(np.round(blocks / size), -8, 7).astype(int).reshape(WEIGHT.shape)
    zero = 0 if kind == INT4 else 8
    inputs = [net.hold(integers + zero, kind), net.hold(size.astype(np.float32).reshape(shape))]
    if four.endswith("zero"):
        inputs.append(net.hold(np.full(shape, zero), kind))
    places = ({}, {"axis": 1}, {"axis": 0, "block_size": 32})[len(shape)]
    y = net.op("MatMul", x, net.op("DequantizeLinear", *inputs, **places))
    return net.end(y, *ends(X @ WEIGHT * 1.2))


def layer_norm(dtype: Any, bias: str = "", moved: bool = False, acts: Any = np.uint16) -> Net:
    net = Net()
    x, scale = net.start(dtype=acts), net.static(GAMMA, dtype, moved)
    inputs = [x, scale]
    if bias == "int32":
        steps = [numpy_helper.to_array(net.held[place]) for place in (0, 3)]  # of x and of the scale
        step = np.float32(steps[0] * steps[1])
        whole = np.round(GAMMA / step).astype(np.int32)
        inputs.append(net.op("DequantizeLinear", net.hold(whole), net.hold(step), net.hold(np.int32(0))))
    elif bias:
        inputs.append(net.static(GAMMA, np.dtype(bias).type))
    return net.end(net.op("LayerNormalization", *inputs, axis=-1, epsilon=1e-5), -6, 8, acts)


def rms_norm(x: Array, form: str, dtype: Any = np.uint16) -> Net:
    """RMSNorm: one operator, or squares with a division or with Reciprocal."""
    net = Net()
    mean = np.square(x).mean(-1, keepdims=True)
    root = np.sqrt(mean)
    normed = x / root
    read = net.start(x)
    if form == "one":
        y = net.op("RMSNormalization", read, net.static(GAMMA, dtype), axis=-1, epsilon=1e-9)
        return net.end(y, *ends(normed * GAMMA))
    squares = net.reach(net.op("Mul", read, read), *ends(np.square(x)))
    kept = net.reach(net.op("ReduceMean", squares, net.ints(-1), keepdims=1), *ends(mean))
    below = net.reach(net.op("Sqrt", net.reach(net.op("Add", kept, net.static(1e-9)), *ends(mean))), *ends(root))
    if form == "divided":
        y = net.op("Div", read, below)
    else:
        y = net.op("Mul", read, net.reach(net.op("Reciprocal", below), *ends(1 / root)))
    return net.end(net.op("Mul", net.reach(y, *ends(normed)), net.static(GAMMA)), *ends(normed * GAMMA))


def inverse(high: float, form: str = "Reciprocal") -> Net:
    net = Net()
    x = RNG.uniform(high / 4, high, size=X.shape).astype(np.float32)
    read = net.start(x)
    y = net.op("Reciprocal", read) if form == "Reciprocal" else net.op("Div", net.static(1.0), read)
    return net.end(y, *ends(1 / x))


def bounded_output(kind: str, low: float, high: float) -> Net:
    net = Net()
    net.output(net.op("QuantizeLinear", net.op(kind, net.start()), *net.encoding(low, high)), UINT16)
    return net


def activations(dtype: Any, moved: bool = False) -> Net:
    """A product of two activations."""
    net = Net()
    x = net.start(HEADS)
    y = net.input(HEADS.transpose(0, 2, 1).copy(), "y")
    about = net.encoding(-5, 5, dtype)
    y = net.fixed(y, (about[0], net.hold(dtype(3))) if moved else about)
    return net.end(net.op("MatMul", x, y), -40, 80)


def cached(new: float = 8.0, past: float = 8.0) -> Net:
    """Rows of a cache, past and new, in the given ranges."""
    net = Net()
    about = net.encoding(-past, past)
    rows = net.op("DequantizeLinear", net.input(integers(4, 16, 32), "past_key.0"), *about)
    net.end(net.op("Sigmoid", rows), 0, 1)
    about = about if new == past else net.encoding(-new, new)
    x = net.op("QuantizeLinear", net.op("Gelu", net.start(HEADS)), *about)
    net.output(x, UINT16, called="new_key.0")
    return net


def integers(*shape: int) -> Array:
    return RNG.integers(0, 2**16, shape).astype(np.uint16)


def turned(how: str) -> Net:
    """Integers as an output behind a Transpose, which a product reads too, or nothing else; or which were inputs."""
    net = Net()
    about = net.encoding(-8, 8)
    if how == "in":
        x = net.op("DequantizeLinear", net.input(integers(4, 16, 32)), *about)
        net.output(net.op("QuantizeLinear", net.op("Transpose", x, perm=[0, 2, 1]), *about), UINT16)
        return net
    x, y = net.fixed(net.input(HEADS), about), net.fixed(net.input(HEADS, "y"), about)
    if how == "headed":
        heads = net.fixed(net.op("Reshape", x, net.ints(16, 4, 32)), about)
        x = net.fixed(net.op("Transpose", heads, perm=[1, 0, 2]), about)
    if how == "before":
        net.output(net.op("QuantizeLinear", net.op("Mul", x, x), *about), UINT16)
        other = net.fixed(net.op("Transpose", x, perm=[0, 2, 1]), about)
    else:
        out = net.op("QuantizeLinear", net.op("Transpose", x, perm=[0, 2, 1]), *about)
        net.output(out, UINT16)
        other = net.op("DequantizeLinear", out, *about)
    if how != "alone":
        other = other if how == "behind" else net.reach(other, -8, 8, np.int16)
        net.end(net.op("MatMul", y, other), -40, 80)
    return net


def float_norm(is_weight_first: bool, squares: str = "Pow") -> Net:
    """RMSNorm in float32, as torch writes it."""
    net = Net()
    x, weight = net.input(X), net.hold(GAMMA)
    two = net.op("Mul", x, x) if squares == "Mul" else net.op("Pow", x, net.hold(np.float32(2)))
    mean = net.op("Add", net.op("ReduceMean", two, net.ints(-1), keepdims=1), net.hold(np.float32(1e-6)))
    normed = net.op("Mul", x, net.op("Reciprocal", net.op("Sqrt", mean)))
    net.output(net.op("Mul", weight, normed) if is_weight_first else net.op("Mul", normed, weight))
    return net


def microsoft(kind: str) -> Net:
    """An operator of ONNX Runtime's own."""
    net = Net()
    if kind == "GroupQueryAttention":
        half = HEADS.astype(np.float16)[:1]  # (1, 16, 32) rows of one head
        query, key, value = (net.input(half[:, :4], name) for name in "qkv")
        past = [net.input(half[None], name) for name in ("past_key", "past_value")]
        counts = [net.hold(np.array([3], np.int32)), net.hold(np.array(4, np.int32))]
        found = net.ops(kind, 3, query, key, value, *past, *counts, domain="com.microsoft", num_heads=1, kv_num_heads=1)
        for one in found:
            net.output(one, TensorProto.FLOAT16)
        return net
    x = net.fixed(net.input(X[None]), net.encoding(-5, 5))
    if kind == "RotaryEmbedding":
        angles = RNG.normal(size=(ROWS, WIDTH // 8)).astype(np.float32)
        tables = [net.hold(np.cos(angles)), net.hold(np.sin(angles))]
        y = net.op(kind, x, net.hold(np.arange(ROWS)[None]), *tables, domain="com.microsoft", num_heads=4)
    else:
        y = net.op(kind, x, x, net.static(GAMMA, np.uint8), domain="com.microsoft", epsilon=1e-6)
    return net.end(y, -12, 12)


def rotated() -> Net:
    """Rotary positions by ONNX's own operator."""
    net = Net()
    x = net.fixed(net.input(X[None]), net.encoding(-5, 5))
    angles = RNG.normal(size=(1, ROWS, WIDTH // 8)).astype(np.float32)
    y = net.op("RotaryEmbedding", x, net.static(np.cos(angles)), net.static(np.sin(angles)), num_heads=4)
    return net.end(y, -7, 7)


def added(*shape: int, name: str = "") -> Net:
    """An input added to itself; ``name`` names its first dimension."""
    net = Net()
    value = RNG.uniform(-4, 4, shape).astype(np.float32)
    x = net.reach(net.input(value, shape=(name, *shape[1:]) if name else None), -4, 4)
    return net.end(net.op("Add", x, x), -8, 8)


def read_as(dtype: Any) -> Net:
    """Integers as an input."""
    net = Net()
    value = RNG.integers(0, 200, X.shape).astype(dtype)
    x = net.op("DequantizeLinear", net.input(value), net.hold(np.float32(0.02)), net.hold(dtype(0)))
    return net.end(net.op("Gelu", x), -1, 4)


def gap(is_closed: bool) -> Net:
    """Two operators; the output of the first is quantized (``is_closed``), or not."""
    net = Net()
    y = net.op("MatMul", net.start(), net.static(WEIGHT, np.uint8))
    if is_closed:
        y = net.reach(y, *ends(X @ WEIGHT * 1.2))
    return net.end(net.op("Sigmoid", y), 0, 1)

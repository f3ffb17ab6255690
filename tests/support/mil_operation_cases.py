"""Cases of those operations of ML programs whose values coremltools infers itself, and what cases are made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Case:
    """One operation with constant inputs. ``expected`` is a reference where coremltools has no value inference."""

    op: str
    inputs: dict[str, Any]
    ios: int = 18
    expected: Callable[..., Any] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        more = [f"{key}={one}" for key, one in self.inputs.items() if isinstance(one, str | bool | int | float)]
        return "-".join([self.op, str(self.ios), *more])


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


X, Y = floats(2, 3, 4), floats(3, 1, seed=1)
IMAGE = floats(2, 4, 6, 6, seed=2)
POSITIVE = np.abs(X) + np.float32(0.1)
UNIT = np.tanh(X) * np.float32(0.9)
INTS, DIVISORS = np.arange(-6, 6, dtype=np.int32).reshape(3, 4), whole(5, -3, 2, 7)
TRUE = X > 0
f = np.float32


def t(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value))


def cases() -> Iterator[Case]:  # noqa: C901
    for op in ("abs", "ceil", "cos", "cosh", "erf", "exp", "exp2", "floor", "relu", "relu6", "round", "sigmoid"):
        yield Case(op, {"x": X * f(3)})
    for op in ("sign", "sin", "sinh", "softplus", "softsign", "square", "tan", "tanh", "identity"):
        yield Case(op, {"x": X * f(3)})
    for op in ("acos", "asin", "atan", "atanh"):
        yield Case(op, {"x": UNIT})
    for op in ("sqrt", "inverse", "log", "rsqrt"):
        yield Case(op, {"x": POSITIVE})
    for op in ("inverse", "log", "rsqrt"):
        yield Case(op, {"x": POSITIVE, "epsilon": f(0.25)})
    yield Case("round", {"x": np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], f)})
    for op in ("abs", "sign", "square"):
        yield Case(op, {"x": INTS})
    yield Case("logical_not", {"x": TRUE})
    for op in ("elu", "leaky_relu", "threshold", "thresholded_relu"):
        yield Case(op, {"x": X.copy(), "alpha": f(0.3)})
    for op in ("clamped_relu", "clip", "linear_activation", "scaled_tanh", "sigmoid_hard"):
        yield Case(op, {"x": X, "alpha": f(0.3), "beta": f(0.7)})
    yield Case("prelu", {"x": IMAGE, "alpha": np.linspace(-1, 1, 4).astype(f)})
    yield Case("softplus_parametric", {"x": X, "alpha": np.linspace(0.5, 1, 3).astype(f), "beta": np.ones(3, f)})
    for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
        yield Case("gelu", {"x": X, "mode": mode})
    yield Case("gelu", {"x": X})
    for dtype in ("int32", "bool", "fp32"):
        yield Case("cast", {"x": X * f(3), "dtype": dtype})
    yield Case("cast", {"x": INTS, "dtype": "fp32"})
    yield Case("select", {"cond": TRUE, "a": X, "b": -X})
    for op in ("add", "sub", "mul", "maximum", "minimum"):
        yield Case(op, {"x": X, "y": Y})
        yield Case(op, {"x": INTS, "y": DIVISORS})
    for op in ("floor_div", "mod"):
        yield Case(op, {"x": X * f(7), "y": Y})
        yield Case(op, {"x": INTS, "y": DIVISORS})
    yield Case("real_div", {"x": X, "y": Y})
    yield Case("pow", {"x": POSITIVE, "y": Y})
    for op in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"):
        yield Case(op, {"x": INTS, "y": whole(-2, 0, 0, 5)})
        yield Case(op, {"x": X, "y": Y})
    for op in ("logical_and", "logical_or", "logical_xor"):
        yield Case(op, {"x": TRUE, "y": Y > 0})
    for op in ("sum", "mean", "sum_square", "l1_norm", "l2_norm", "log_sum", "log_sum_exp", "max", "min", "prod"):
        x = POSITIVE if op == "log_sum" else X
        yield Case(f"reduce_{op}", {"x": x, "axes": whole(-1, 0), "keep_dims": False})
        yield Case(f"reduce_{op}", {"x": x, "axes": whole(1), "keep_dims": True})
        yield Case(f"reduce_{op}", {"x": x})
    for op in ("sum", "sum_square", "max", "min"):
        yield Case(f"reduce_{op}", {"x": INTS, "axes": whole(0)})
    for op in ("reduce_argmax", "reduce_argmin"):
        yield Case(op, {"x": np.array([[1, 3, 3], [0, 0, 5]], f)})
        yield Case(op, {"x": X, "axis": 1, "keep_dims": True}, 15)
    yield Case("argsort", {"x": X})
    yield Case("argsort", {"x": X, "axis": 0, "ascending": True})
    yield Case("topk", {"x": X, "k": 2})
    yield Case("topk", {"x": X, "k": 2, "axis": 1, "ascending": True}, 15)
    yield Case("topk", {"x": X, "k": 3, "sort": False, "return_indices": False})
    yield Case("cumsum", {"x": X, "axis": 1, "reverse": True})
    yield Case("cumsum", {"x": X})
    yield from shapes()
    yield from indexing()
    yield from products()


def shapes() -> Iterator[Case]:
    yield Case("reshape", {"x": X, "shape": whole(0, -1)})
    yield Case("reshape", {"x": X, "shape": whole(6, 4)}, 15)
    yield Case("reshape", {"x": X, "shape": whole(0, -1, 2)}, 16)
    yield Case("reshape", {"x": floats(2, 50), "shape": whole(1, 0, -1, 0)}, 17)
    yield Case("transpose", {"x": X, "perm": whole(2, 0, -2)})
    yield Case("expand_dims", {"x": X, "axes": whole(-1, 1)})
    yield Case("squeeze", {"x": floats(1, 3, 1, 2), "axes": whole(0, -2)})
    yield Case("squeeze", {"x": floats(1, 3, 1, 2)})
    yield Case("concat", {"values": [X, X * f(2)], "axis": -2})
    yield Case("concat", {"values": [f(1), f(2)], "axis": 0})
    yield Case("stack", {"values": [X, X * f(2)], "axis": -1})
    yield Case("split", {"x": X, "num_splits": 2, "axis": -1})
    yield Case("split", {"x": X, "split_sizes": whole(1, 3), "axis": 2})
    yield Case("tile", {"x": X, "reps": whole(1, 2, 3)})
    for mode in ("constant", "reflect", "replicate"):
        yield Case("pad", {"x": X, "pad": whole(1, 2, 2, 0), "mode": mode, "constant_val": f(0.5)})
    yield Case("pad", {"x": X, "pad": whole(1, 0)})
    yield Case("reverse", {"x": X, "axes": whole(0, -1)})
    yield Case("reverse", {"x": X})
    yield Case("flatten2d", {"x": X, "axis": -1})
    yield Case("flatten2d", {"x": X})
    yield Case("shape", {"x": X})
    yield Case("fill", {"shape": whole(2, 3), "value": f(1.5)})
    yield Case("fill", {"shape": whole(2), "value": np.int32(7)})
    yield Case("fill_like", {"ref_tensor": X, "value": f(2)})
    yield Case("range_1d", {"start": f(1), "end": f(4.1), "step": f(0.5)})
    yield Case("range_1d", {"start": np.int32(5), "end": np.int32(-1), "step": np.int32(-2)})
    for lower, upper in ((-1, 0), (0, -1), (1, 2)):
        yield Case("band_part", {"x": X, "lower": lower, "upper": upper})
    yield Case("non_zero", {"x": np.array([[0, 1, 2], [3, 0, 0]], f)})


def indexing() -> Iterator[Case]:
    yield Case("slice_by_index", {"x": X, "begin": whole(0, 1, -3), "end": whole(1, 3, 4), "stride": whole(1, 2, 2)})
    masks = {
        "begin_mask": np.array([True, False, True]),
        "end_mask": np.array([False, True, True]),
        "squeeze_mask": np.array([False, True, False]),
    }
    yield Case("slice_by_index", {"x": X, "begin": whole(7, 1, 7), "end": whole(1, 7, 7), **masks})
    yield Case(
        "slice_by_index",
        {"x": X, "begin": whole(0, 2, -1), "end": whole(2, 0, -4), "stride": whole(1, -1, -2)},
    )
    yield Case("slice_by_size", {"x": X, "begin": whole(1, -2, 0), "size": whole(1, 2, -1)})
    update = {"begin": whole(0, 1, 0), "end": whole(2, 3, 4), "stride": whole(1, 1, 2)}
    yield Case("slice_update", {"x": X, "update": floats(2, 2, 2), **update})
    yield Case("slice_update", {"x": X, "update": floats(2, 2, 4), **{**update, "stride": whole(1, 1, 1)}})
    yield Case("gather", {"x": X, "indices": whole(2, 0, 1, 2), "axis": 1})
    yield Case("gather", {"x": X, "indices": whole((1, 0), (0, 1))})
    yield Case("gather", {"x": X, "indices": whole(-1, 1), "axis": -1}, 16)
    batched = np.arange(8, dtype=np.int32).reshape(2, 4) % 3
    yield Case("gather", {"x": X, "indices": batched, "axis": 1, "batch_dims": 1})
    yield Case("gather_along_axis", {"x": X, "indices": INTS.reshape(1, 3, 4).repeat(2, 0) % 3, "axis": 1})
    yield Case("gather_along_axis", {"x": X, "indices": -np.ones((2, 3, 2), np.int32), "axis": 2}, 16)
    places = np.stack([whole(0, 1, 2, 0), whole(2, 2, 1, 0)]).reshape(2, 1, 4).repeat(3, 1)[:, :, :2]
    along = {"data": X, "indices": places, "updates": floats(2, 3, 2), "axis": 2}
    yield Case("scatter_along_axis", {**along, "mode": "update"})


def products() -> Iterator[Case]:
    yield Case("linear", {"x": X, "weight": floats(5, 4), "bias": floats(5)})
    yield Case("linear", {"x": X, "weight": floats(5, 4)})
    yield Case("matmul", {"x": X, "y": floats(2, 4, 5)})
    yield Case("matmul", {"x": X, "y": floats(3, 5), "transpose_x": True})
    yield Case("matmul", {"x": X, "y": floats(5, 4), "transpose_y": True})
    yield Case("matmul", {"x": X, "y": floats(2, 5, 3), "transpose_x": True, "transpose_y": True})
    yield Case("einsum", {"values": [floats(2, 3, 4, 5), floats(2, 5, 1, 6)], "equation": "nchw,nwhu->nchu"})
    yield Case("einsum", {"values": [floats(3, 4, 5), floats(5, 4, 6)], "equation": "chw,whr->chr"})
    yield Case("layer_norm", {"x": X, "axes": whole(-1), "gamma": floats(4), "beta": floats(4), "epsilon": f(1e-3)})
    yield Case("layer_norm", {"x": X, "axes": whole(1), "gamma": floats(3), "beta": floats(3, seed=1)})
    yield Case("layer_norm", {"x": X, "axes": whole(-1, -2)})
    yield Case("layer_norm", {"x": X, "axes": whole(0, 1, 2)})
    yield Case("l2_norm", {"x": IMAGE, "epsilon": f(1e-3)})
    yield Case("l2_norm", {"x": X})
    yield Case("softmax", {"x": X, "axis": 1})
    yield Case("softmax", {"x": X * f(30)})
    qkv = {"query": floats(2, 3, 5, 4), "key": floats(2, 3, 6, 4, seed=1), "value": floats(2, 3, 6, 7, seed=2)}
    yield Case("scaled_dot_product_attention", qkv)
    yield Case("scaled_dot_product_attention", {**qkv, "attn_mask": floats(1, 1, 5, 6)})
    yield Case("scaled_dot_product_attention", {**qkv, "attn_mask": np.tri(5, 6, dtype=np.bool_)})
    for dtype, zero in (("int8", np.int8(-3)), ("uint8", np.uint8(128))):
        yield Case("quantize", {"input": X * f(9), "scale": f(0.1), "zero_point": zero, "output_dtype": dtype})
    yield Case("quantize", {"input": X, "scale": floats(3) ** 2 + f(0.01), "axis": 1, "output_dtype": "int8"})

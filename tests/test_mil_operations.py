"""Every operation computes what coremltools' own value inference does, or, where it has none, what torch does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

pytest.importorskip("coremltools")

from mil_programs import FP16, FP32, INT32, TARGETS, function, mb, mil, only, package, save, types

from phantom_edge.export.interpreters.mil import OPS, Interpreter, Package
from phantom_edge.foundation.errors import EdgeError

RELATIVE = 2e-6
"""Float32 on both sides, sums in another order."""


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
    yield from without_oracle()


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


def without_oracle() -> Iterator[Case]:
    weight, bias = floats(6, 4, 3, 2, seed=3), floats(6)
    yield Case("silu", {"x": X}, expected=lambda x: x * torch.sigmoid(x))
    for ios, pad_type in ((17, "same_lower"), (15, "same"), (15, "valid")):
        pads = {"same": (0, 1, 1, 1), "same_lower": (1, 0, 1, 1), "valid": (0, 0, 0, 0)}[pad_type]
        yield Case(
            "conv",
            {"x": IMAGE, "weight": weight, "bias": bias, "pad_type": pad_type},
            ios,
            lambda x, weight, bias, pad_type, pads=pads: functional.conv2d(functional.pad(x, pads), weight, bias),
        )
    custom = {"pad_type": "custom", "pad": whole(1, 0, 2, 1), "strides": whole(2, 1), "dilations": whole(1, 2)}
    yield Case(
        "conv",
        {"x": IMAGE, "weight": weight[:, :2], "groups": 2, **custom},
        expected=lambda x, weight, **_: functional.conv2d(
            functional.pad(x, (2, 1, 1, 0)), weight, None, (2, 1), 0, (1, 2), 2
        ),
    )
    line = {"x": X, "weight": floats(5, 3, 2), "pad_type": "custom", "pad": whole(1, 1)}
    yield Case("conv", line, expected=lambda x, weight, **_: functional.conv1d(x, weight, padding=1))
    yield Case(
        "conv_transpose",
        {
            "x": IMAGE,
            "weight": floats(4, 3, 3, 3),
            "strides": whole(2, 2),
            "pad_type": "custom",
            "pad": whole(1, 1, 0, 0),
        },
        expected=lambda x, weight, **_: functional.conv_transpose2d(x, weight, stride=2)[:, :, 1:-1],
    )
    stats = {"mean": floats(4), "variance": floats(4) ** 2 + f(0.1)}
    affine = {"gamma": floats(4, seed=5), "beta": floats(4, seed=6)}
    yield Case(
        "batch_norm",
        {"x": IMAGE, **stats, **affine, "epsilon": f(1e-3)},
        expected=lambda x, mean, variance, gamma, beta, epsilon: functional.batch_norm(
            x, mean, variance, gamma, beta, eps=1e-3
        ),
    )
    yield Case(
        "batch_norm", {"x": IMAGE, **stats}, expected=lambda x, mean, variance: functional.batch_norm(x, mean, variance)
    )
    yield Case(
        "instance_norm",
        {"x": IMAGE, **affine},
        expected=lambda x, gamma, beta: functional.instance_norm(x, weight=gamma, bias=beta),
    )
    window = {"kernel_sizes": whole(3, 2), "strides": whole(2, 2), "pad_type": "custom", "pad": whole(1, 1, 0, 0)}
    yield Case("max_pool", {"x": IMAGE, **window}, expected=lambda x, **_: functional.max_pool2d(x, (3, 2), 2, (1, 0)))
    for excludes in (False, True):
        yield Case(
            "avg_pool",
            {"x": IMAGE, **window, "exclude_padding_from_average": excludes},
            expected=lambda x, excludes=excludes, **_: functional.avg_pool2d(
                x, (3, 2), 2, (1, 0), count_include_pad=not excludes
            ),
        )
    same = {"kernel_sizes": whole(2, 2), "pad_type": "same", "exclude_padding_from_average": True}
    yield Case("avg_pool", {"x": IMAGE, **same}, expected=lambda x, **_: _same_mean(x))
    up = {"kernel_sizes": whole(4, 4), "strides": whole(3, 3), "pad_type": "valid", "ceil_mode": True}
    yield Case("max_pool", {"x": IMAGE, **up}, expected=lambda x, **_: functional.max_pool2d(x, 4, 3, ceil_mode=True))
    yield Case(
        "pixel_shuffle",
        {"x": IMAGE, "upscale_factor": 2},
        expected=lambda x, upscale_factor: functional.pixel_shuffle(x, 2),
    )
    yield Case(
        "pixel_unshuffle",
        {"x": IMAGE, "downscale_factor": np.uint32(3)},
        expected=lambda x, downscale_factor: functional.pixel_unshuffle(x, 3),
    )
    yield Case("space_to_depth", {"x": IMAGE, "block_size": 2}, expected=lambda x, block_size: _to_depth(x))
    yield Case("depth_to_space", {"x": IMAGE, "block_size": 2}, expected=lambda x, block_size: _to_space(x))
    yield Case(
        "sliding_windows",
        {"x": X, "axis": 1, "size": 2, "stride": 1},
        expected=lambda x, **_: torch.stack([x[:, 0:2], x[:, 1:3]], 1),
    )
    hot = {"indices": whole(1, 3, 0), "one_hot_vector_size": 4, "on_value": f(2), "off_value": f(-1)}
    yield Case(
        "one_hot", {**hot, "axis": 0}, expected=lambda indices, **_: functional.one_hot(indices.long(), 4).T * 3.0 - 1
    )
    nd = whole((1, 2), (0, 0))
    yield Case("gather_nd", {"x": X, "indices": nd}, expected=lambda x, indices: torch.stack([x[1, 2], x[0, 0]]))
    yield Case(
        "gather_nd",
        {"x": X, "indices": whole(((2,),), ((1,),)), "batch_dims": 1},
        expected=lambda x, **_: torch.stack([x[0, 2], x[1, 1]])[:, None],
    )
    for mode, combine in MODES.items():
        rows = {"data": X, "indices": whole(2, 0), "updates": floats(2, 2, 4) + f(3), "axis": 1, "mode": mode}
        yield Case("scatter", rows, expected=lambda data, updates, c=combine, **_: _scattered(data, updates, c))
        twos = {"data": X, "indices": nd, "updates": floats(2, 4) + f(3), "mode": mode}
        yield Case("scatter_nd", twos, expected=lambda data, updates, c=combine, **_: _scattered_nd(data, updates, c))
    yield Case(
        "scatter",
        {"data": X[0], "indices": whole(1, 1), "updates": floats(2, 4)},
        expected=lambda data, updates, **_: data + torch.stack([data[0] * 0, updates.sum(0), data[0] * 0]),
    )
    integers = np.arange(-4, 4, dtype=np.int8).reshape(2, 4)
    yield Case(
        "dequantize",
        {"input": integers, "scale": np.array([0.5, 2], f), "zero_point": np.array([1, -1], np.int8), "axis": 0},
        expected=lambda input, scale, zero_point, axis: (input - zero_point[:, None]).float() * scale[:, None],
    )
    yield Case("dequantize", {"input": integers, "scale": f(0.5)}, expected=lambda input, scale: input * scale)


MODES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "update": lambda old, new: new,
}


def _scattered(data, updates, combine):
    found = data.clone()
    for place, row in zip((2, 0), updates.unbind(1), strict=True):
        found[:, place] = combine(found[:, place], row)
    return found


def _scattered_nd(data, updates, combine):
    found = data.clone()
    for place, row in zip(((1, 2), (0, 0)), updates, strict=True):
        found[place] = combine(found[place], row)
    return found


def _same_mean(x):
    padded, ones = functional.pad(x, (0, 1, 0, 1)), functional.pad(torch.ones_like(x), (0, 1, 0, 1))
    return functional.avg_pool2d(padded, 2, 1) / functional.avg_pool2d(ones, 2, 1)


def _to_depth(x):
    """As TensorFlow's: channel (row, column, c) of a block."""
    return torch.cat([x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)], 1)


def _to_space(x):
    found = torch.empty(x.shape[0], x.shape[1] // 4, x.shape[2] * 2, x.shape[3] * 2)
    for number, part in enumerate(x.chunk(4, 1)):
        found[:, :, number // 2 :: 2, number % 2 :: 2] = part
    return found


CASES = list(cases())


def outputs(case: Case) -> tuple[Any, ...]:
    found = getattr(mb, case.op)(**case.inputs)
    return tuple(found) if isinstance(found, tuple | list) else (found,)


def _returned(var: Any) -> Any:
    """As something that a Core ML function can return."""
    return var if var.dtype in (types.fp32, types.int32) else mb.cast(x=var, dtype="int32")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of every case: what the interpreter computed, and what coremltools inferred, None where it does not."""
    found = {}
    for ios in TARGETS:
        chosen = [number for number, case in enumerate(CASES) if case.ios == ios]
        inferred, names = {}, {}

        def body(go, chosen=chosen, inferred=inferred, names=names):
            returned = [go]
            for number in chosen:
                made = outputs(CASES[number])
                inferred[number] = [var.val for var in made]
                kept = [_returned(var) for var in made]
                names[number] = [var.name for var in kept]
                returned += kept
            return [mb.identity(x=go, name="went"), *returned[1:]]

        made = save(
            tmp_path_factory.mktemp("mil") / f"{ios}.mlpackage",
            {"main": function({"go": ((1,), FP32)}, body, ios)},
            ios,
        )
        computed = Interpreter(Package.open(made)).run({"go": torch.zeros(1)})
        for number in chosen:
            found[number] = ([computed[name] for name in names[number]], inferred[number])
    return found


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_operation(results, number: int) -> None:
    case = CASES[number]
    computed, inferred = results[number]
    if case.expected is not None:
        given = {
            key: t(value) if isinstance(value, np.ndarray | np.generic) else value for key, value in case.inputs.items()
        }
        inferred = [case.expected(**given).numpy()]
    assert len(computed) == len(inferred)
    for ours, theirs in zip(computed, inferred, strict=True):
        assert theirs is not None, "coremltools infers no value: give the case an expected one"
        wanted = torch.from_numpy(np.array(theirs)).to(ours.dtype)
        torch.testing.assert_close(ours, wanted, rtol=RELATIVE, atol=RELATIVE)


def has_oracle(op: str) -> bool:
    """Whether a version of the operation infers values."""
    registry = mil.ops.registry.SSAOpRegistry.core_ops
    base = mil.operation.Operation
    return any(
        "value_inference" in one.__dict__
        for kind in set(registry.get(op, {}).values())
        for one in kind.__mro__
        if one not in (base, object)
    )


STATES = {"read_state", "write_state"}
"""Proved by test_states: they have no inputs that could be constant."""


def test_every_operation_has_a_case() -> None:
    inferred = {case.op for case in CASES if case.expected is None}
    referred = {case.op for case in CASES if case.expected is not None}
    assert set(OPS) == inferred | referred | STATES
    assert {op for op in OPS if not has_oracle(op)} <= referred | STATES


def test_states(tmp_path) -> None:
    def body(x, memory):
        old = mb.read_state(input=memory)
        new = mb.coreml_update_state(state=memory, value=mb.add(x=old, y=x))
        return [mb.mul(x=new, y=np.float16(2), name="doubled"), mb.identity(x=old, name="old")]

    made = package(tmp_path / "p.mlpackage", {"x": ((3,), FP16)}, body, states={"memory": ((3,), FP16)})
    (state,) = made.functions["main"].states
    assert (state.name, state.dtype, state.shape) == ("memory", "float16", (3,))
    interpreter = Interpreter(made)
    states = interpreter.states()
    for turn in (1.0, 2.0):
        found = interpreter.run({"x": torch.ones(3)}, states)
        assert found["doubled"].tolist() == [2 * turn] * 3
        assert found["old"].tolist() == [turn - 1] * 3
        assert states["memory"].tolist() == [turn] * 3
    with pytest.raises(EdgeError, match="needs state 'memory'"):
        interpreter.run({"x": torch.ones(3)})


def test_constants_and_inputs_returned(tmp_path) -> None:
    constant = floats(2, 3)
    made = package(tmp_path / "p.mlpackage", {"x": ((2,), FP32)}, lambda x: [mb.const(val=constant, name="c"), x])
    found = Interpreter(made).run({"x": torch.ones(2)})
    assert torch.equal(found["c"], t(constant)) and torch.equal(found["x"], torch.ones(2))


def test_dynamic_slice_and_its_limits(tmp_path) -> None:
    def body(x, update, start):
        end = mb.add(x=start, y=np.int32(2))
        begin = mb.concat(values=[whole(0), start], axis=0)
        return mb.slice_update(x=x, update=update, begin=begin, end=mb.concat(values=[whole(1), end], axis=0))

    ports = {"x": ((1, 5), FP32), "update": ((1, 2), FP32), "start": ((1,), INT32)}
    interpreter = Interpreter(package(tmp_path / "p.mlpackage", ports, body))

    def at(start: int) -> list[float]:
        given = {"x": torch.zeros(1, 5), "update": torch.ones(1, 2), "start": torch.tensor([start], dtype=torch.int32)}
        return only(interpreter.run(given)).flatten().tolist()

    assert at(1) == [0, 1, 1, 0, 0]
    with pytest.raises(EdgeError, match=r"slice_update .* reaches outside 5"):
        at(4)


def test_modes_round_where_they_say(tmp_path) -> None:
    def body(x):
        return mb.sub(x=mb.add(x=x, y=np.float16(2048)), y=np.float16(2048))

    made = package(tmp_path / "p.mlpackage", {"x": ((2,), FP16)}, body)
    x = {"x": torch.tensor([1.0, 0.3])}
    assert only(Interpreter(made).run(x)).tolist() == pytest.approx([1, 0.3], abs=2e-4)
    assert only(Interpreter(made, mode="fp16").run(x)).tolist() == [0, 0]
    with pytest.raises(EdgeError, match="mode 'half'"):
        Interpreter(made, mode="half")  # type: ignore[arg-type]


@pytest.mark.parametrize("op", ["softmax", "layer_norm", "gelu", "reduce_sum", "reduce_log_sum_exp", "l2_norm"])
def test_strict_is_near_exact(tmp_path, op: str) -> None:
    more = {"softmax": {}, "gelu": {}, "l2_norm": {}, "layer_norm": {"axes": whole(-1)}}
    shape = (1, 3, 100)
    made = package(
        tmp_path / "p.mlpackage",
        {"x": (shape, FP16)},
        lambda x: getattr(mb, op)(x=x, **more.get(op, {"axes": whole(-1)})),
    )
    x = {"x": torch.from_numpy(floats(*shape)).half().float()}
    exact, strict = (only(Interpreter(made, mode=mode).run(x)) for mode in ("exact", "strict"))
    assert not torch.equal(exact, strict)
    assert torch.equal(strict, strict.half().float())
    # At most a dozen roundings, each within 2^-11 of the largest number on the way.
    assert (exact - strict).abs().max() <= 12 * 2**-11 * max(1.0, float(exact.abs().max()))

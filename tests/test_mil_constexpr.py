"""Compressed weights come back as numpy computes them from what was put in, and as coremltools itself does."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("coremltools")

from mil_programs import FP16, FP32, function, mb, only, package, save, types

from phantom_edge.export.interpreters.mil import Interpreter, Package
from phantom_edge.export.interpreters.mil.constants import as_tensor
from phantom_edge.export.interpreters.mil.constexpr import decode
from phantom_edge.export.interpreters.mil.program import Constant, Operation, Typed
from phantom_edge.foundation.errors import EdgeError

HALF_STEP = 2**-10
"""coremltools decodes in float16: a few roundings, each within 2^-11."""

INTEGERS = {
    "int4": (types.np_int4_dtype, -8, 7),
    "uint4": (types.np_uint4_dtype, 0, 15),
    "int8": (np.int8, -128, 127),
    "uint8": (np.uint8, 0, 255),
}
INDICES = {bits: getattr(types, f"np_uint{bits}_dtype") if bits < 8 else np.uint8 for bits in (1, 2, 3, 4, 6, 8)}

few = settings(max_examples=40, deadline=None)
blocks = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3)
"""Groups and their size, for each dimension."""


def decoded(make: Callable[[], Any], ios: int = 18) -> tuple[torch.Tensor, torch.Tensor, Any, Package]:
    """Of a compressed weight: exact, rounded, what coremltools makes of it, and the package."""
    kept = {}

    def body(go):
        var = make()
        kept["var"] = var[-1] if isinstance(var, tuple | list) else var
        return [mb.identity(x=go, name="went"), mb.cast(x=kept["var"], dtype="fp32", name="weight")]

    with TemporaryDirectory() as folder:
        made = package(Path(folder) / "p.mlpackage", {"go": ((1,), FP32)}, body, ios)
        x = {"go": torch.zeros(1)}
        exact, rounded = (Interpreter(made, mode=mode).run(x)["weight"] for mode in ("exact", "fp16"))
        theirs = kept["var"].op.materialized_val_inference()
        return exact, rounded, theirs[-1] if isinstance(theirs, tuple) else theirs, made


def check(make: Callable[[], Any], wanted: np.ndarray, ios: int = 18) -> Package:
    exact, rounded, theirs, made = decoded(make, ios)
    torch.testing.assert_close(exact, torch.from_numpy(wanted.astype(np.float32)), rtol=0, atol=0)
    torch.testing.assert_close(rounded, exact.half().float(), rtol=0, atol=0)
    bound = HALF_STEP * max(1.0, float(np.abs(wanted).max(initial=0)))
    torch.testing.assert_close(exact, torch.from_numpy(np.asarray(theirs).astype(np.float32)), rtol=0, atol=bound)
    return made


def repeated(array: np.ndarray, groups: list[tuple[int, int]]) -> np.ndarray:
    for axis, (_, size) in enumerate(groups):
        array = np.repeat(array, size, axis)
    return array


@given(blocks, st.sampled_from(sorted(INTEGERS)), st.booleans(), st.integers(0, 99))
@few
def test_blockwise(groups: list[tuple[int, int]], name: str, shifts: bool, seed: int) -> None:
    random, (dtype, least, largest) = np.random.default_rng(seed), INTEGERS[name]
    shape = [group * size for group, size in groups]
    data = random.integers(least, largest + 1, shape)
    scale = random.normal(size=[group for group, _ in groups]).astype(np.float16)
    offset = random.integers(least, largest + 1, scale.shape) if shifts else np.zeros(scale.shape, int)
    more = {"offset": offset.astype(dtype)} if shifts else {}
    wanted = repeated(scale, groups).astype(np.float32) * (data - repeated(offset, groups)).astype(np.float32)
    made = check(lambda: mb.constexpr_blockwise_shift_scale(data=data.astype(dtype), scale=scale, **more), wanted)
    (about,) = made.compressed().values()
    assert about.type == "constexpr_blockwise_shift_scale"
    np.testing.assert_array_equal(about.array("data"), data)
    np.testing.assert_array_equal(about.array("scale"), scale)
    if shifts:
        np.testing.assert_array_equal(about.array("offset"), offset)


@given(blocks, st.sampled_from(sorted(INDICES)), st.integers(1, 3), st.data(), st.integers(0, 99))
@few
def test_table(groups: list[tuple[int, int]], bits: int, vector: int, data: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    indices = random.integers(0, 2**bits, [group * size for group, size in groups])
    table = random.normal(size=[*(group for group, _ in groups), 2**bits, vector]).astype(np.float16)
    axis = data.draw(st.integers(-len(groups), len(groups) - 1))
    more = {"vector_axis": np.int32(axis)} if vector > 1 else {}
    wide = repeated(table, groups).reshape(*indices.shape, 2**bits, vector)
    found = np.take_along_axis(wide, indices[..., None, None], -2)[..., 0, :]
    place = axis % len(groups)
    found = np.moveaxis(found, -1, place + 1)
    wanted = found.reshape([size * (vector if one == place else 1) for one, size in enumerate(indices.shape)])
    made = check(lambda: mb.constexpr_lut_to_dense(indices=indices.astype(INDICES[bits]), lut=table, **more), wanted)
    (about,) = made.compressed().values()
    np.testing.assert_array_equal(about.array("indices"), indices)
    np.testing.assert_array_equal(about.array("lut"), table)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.sampled_from([1, 2, 4, 6, 8]), st.integers(0, 99))
@few
def test_table_of_ios_16(shape: list[int], bits: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    indices = random.integers(0, 2**bits, shape).astype(np.uint8)
    table = random.normal(size=2**bits).astype(np.float16)
    each = (indices.reshape(-1, 1) >> np.arange(bits, dtype=np.uint8)) & 1
    packed = np.packbits(each.reshape(-1), bitorder="little")
    sizes = np.array(shape, np.uint32)
    made = check(lambda: mb.constexpr_lut_to_dense(indices=packed, lut=table, shape=sizes), table[indices], 16)
    (about,) = made.compressed().values()
    np.testing.assert_array_equal(about.array("indices"), indices)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.sampled_from([16, 18]), st.integers(0, 99))
@few
def test_sparse(shape: list[int], ios: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, shape)
    mask.flat[0] = 1
    values = random.normal(size=int(mask.sum())).astype(np.float16)
    wanted = np.zeros(shape, np.float16)
    wanted[mask == 1] = values
    if ios == 18:
        given = {"mask": mask.astype(types.np_uint1_dtype)}
    else:
        packed = np.packbits(mask.reshape(-1).astype(np.uint8), bitorder="little")
        given = {"mask": packed, "shape": np.array(shape, np.uint32)}
    made = check(lambda: mb.constexpr_sparse_to_dense(nonzero_data=values, **given), wanted, ios)
    (about,) = made.compressed().values()
    np.testing.assert_array_equal(about.array("mask"), mask)


@given(st.integers(1, 3), st.integers(1, 4), st.booleans(), st.integers(0, 99))
@few
def test_sparse_integers_and_tables(groups: int, size: int, from_table: bool, seed: int) -> None:
    """Two operations, one after the other: the first gives a mask and the numbers where it is 1."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, (groups * size, 5))
    mask[0, 0] = 1
    count, ones = int(mask.sum()), mask.astype(types.np_uint1_dtype)
    dense = np.zeros(mask.shape, np.int64)
    dense[mask == 1] = random.integers(0, 4, count)
    packed = dense[mask == 1].astype(types.np_uint2_dtype if from_table else np.int8)
    if from_table:
        table = random.normal(size=(groups, 1, 4, 1)).astype(np.float16)
        wide = np.repeat(table, size, 0)[:, 0, :, 0].astype(np.float32)
        wanted = np.take_along_axis(wide, dense, 1) * mask
    else:
        scale = random.normal(size=(groups, 1)).astype(np.float16)
        wanted = np.repeat(scale, size, 0).astype(np.float32) * dense * mask

    def make():
        if from_table:
            found = mb.constexpr_lut_to_sparse(indices_mask=ones, indices_nonzero_data=packed, lut=table)
        else:
            found = mb.constexpr_sparse_blockwise_shift_scale(data_mask=ones, nonzero_data=packed, scale=scale)
        return mb.constexpr_sparse_to_dense(nonzero_data=found[1], mask=found[0])

    check(make, wanted + 0.0)


def test_vectors_of_sparse_tables() -> None:
    mask = np.array([[1, 0], [0, 1]])
    table = np.array([[[[1, 2], [3, 4]]]], np.float16)

    def make():
        found = mb.constexpr_lut_to_sparse(
            indices_mask=mask.astype(types.np_uint1_dtype),
            indices_nonzero_data=np.array([0, 1]).astype(types.np_uint1_dtype),
            lut=table,
            vector_axis=np.int32(0),
        )
        return mb.constexpr_sparse_to_dense(nonzero_data=found[1], mask=found[0])

    check(make, np.array([[1, 0], [2, 0], [0, 3], [0, 4]], np.float32))


@given(st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from(["int8", "uint8"]), st.integers(0, 99))
@few
def test_affine(rows: int, per_row: bool, half: bool, name: str, seed: int) -> None:
    random, (dtype, least, largest) = np.random.default_rng(seed), INTEGERS[name]
    data = random.integers(least, largest + 1, (2, rows, 3)).astype(dtype)
    count = rows if per_row else ()
    scale = random.normal(size=count).astype(np.float16 if half else np.float32)
    zero = random.integers(least, largest + 1, count).astype(dtype)
    wide = [one.reshape(-1, 1) if per_row else one for one in (scale.astype(np.float32), zero.astype(np.float32))]
    exact, _, theirs, _ = decoded(
        lambda: mb.constexpr_affine_dequantize(quantized_data=data, zero_point=zero, scale=scale[()], axis=np.int32(1)),
        16,
    )
    torch.testing.assert_close(exact, torch.from_numpy((data - wide[1]) * wide[0]), rtol=0, atol=0)
    torch.testing.assert_close(exact, torch.from_numpy(np.asarray(theirs, np.float32)), rtol=HALF_STEP, atol=1e-3)


@pytest.mark.parametrize("ios", [16, 18])
def test_cast(ios: int) -> None:
    x = np.linspace(-1, 1, 30, dtype=np.float16)
    exact, _, theirs, _ = decoded(lambda: mb.constexpr_cast(source_val=x, output_dtype="fp32"), ios)
    assert exact.tolist() == x.tolist() == theirs.tolist()


def test_a_table_of_integers_with_scales(tmp_path: Path) -> None:
    """As coremltools stores 4-bit palettes with 8-bit entries."""
    integers = np.arange(-8, 8, dtype=np.int8).reshape(1, 1, 16, 1) * np.int8(9)
    scale, indices = np.full((1, 1, 1, 1), 0.25, np.float16), np.arange(32).reshape(4, 8) % 16

    def make():
        table = mb.constexpr_blockwise_shift_scale(data=integers, scale=scale)
        return mb.constexpr_lut_to_dense(indices=indices.astype(types.np_uint4_dtype), lut=table)

    made = package(tmp_path / "p.mlpackage", {"x": ((1, 8), FP16)}, lambda x: mb.linear(x=x, weight=make()))
    wanted = integers.reshape(-1)[indices].astype(np.float32) * 0.25
    found = only(Interpreter(made).run({"x": torch.ones(1, 8)}))
    np.testing.assert_array_equal(found.numpy(), wanted.sum(1)[None])
    table, weight = made.compressed().values()
    np.testing.assert_array_equal(table.array("data"), integers)
    np.testing.assert_array_equal(weight.array("indices"), indices)
    with pytest.raises(EdgeError, match=r"'lut' .* is computed by"):
        weight.array("lut")


def test_functions_share_what_they_decode(tmp_path: Path) -> None:
    integers = (np.arange(64 * 64) % 15 - 7).reshape(64, 64).astype(types.np_int4_dtype)

    def body(x):
        weight = mb.constexpr_blockwise_shift_scale(data=integers, scale=np.full((64, 2), 0.1, np.float16))
        weight.op.data.op.weight_id, weight.op.scale.op.weight_id = "data", "scale"
        return mb.linear(x=x, weight=weight)

    both = {name: function({"x": ((rows, 64), FP16)}, body) for name, rows in (("prefill", 3), ("decode", 1))}
    made = Package.open(save(tmp_path / "p.mlpackage", both))
    assert set(made.functions) == set(both) and made.default == "prefill"
    found = [Interpreter(made, name).run({"x": torch.ones(rows, 64)}) for name, rows in (("prefill", 3), ("decode", 1))]
    torch.testing.assert_close(only(found[0])[:1], only(found[1]), rtol=1e-6, atol=1e-5)
    assert len({id(one) for one in made.decoded.values() if one.shape == (64, 64)}) == 1
    made.forget()
    assert not made.decoded
    with pytest.raises(EdgeError, match="no function 'main'"):
        Interpreter(made, "main")


@pytest.mark.parametrize(
    ("kind", "parts", "why"),
    [
        ("constexpr_blockwise_shift_scale", {"data": (6, 6), "scale": (4, 6)}, "no multiple"),
        ("constexpr_blockwise_shift_scale", {"data": (6, 6)}, "'scale' is missing"),
        ("constexpr_blockwise_shift_scale", {"data": (6,), "scale": (6,), "axis": ()}, "'axis' is not understood"),
        ("constexpr_blockwise_shift_scale", {"data": (6,), "scale": (0,)}, "no multiple"),
        ("constexpr_lut_to_dense", {"indices": (6,), "lut": (1, 2)}, "2 dimensions for indices of 1"),
        ("constexpr_sparse_to_dense", {"mask": (6,), "nonzero_data": (3,)}, "0 places"),
    ],
)
def test_what_does_not_fit_is_refused(kind: str, parts: dict[str, tuple[int, ...]], why: str) -> None:
    constants = {
        name: Constant(name, "int8", shape, bytes(int(np.prod(shape, dtype=int)))) for name, shape in parts.items()
    }
    operation = Operation(kind, "w", {name: (one,) for name, one in constants.items()}, (Typed("w", "float16", (6,)),))
    with pytest.raises(EdgeError, match=why):
        decode(operation, lambda part: as_tensor(constants[part]))

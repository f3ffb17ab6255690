"""Every rule is broken by what it speaks of and kept by its neighbour; multiply-adds are those counted by hand."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("coremltools")

from mil_programs import FP16, FP32, INT32, mb, package, types

from phantom_edge.checkpoint.random import write_random
from phantom_edge.cli.main import app
from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import sealed
from phantom_edge.export.bundle.manifest import MANIFEST, UNSEALED
from phantom_edge.export.export import export_bundle
from phantom_edge.export.lint import ELIGIBLE, RULES, Node, Report, lint, multiply_adds, nodes
from phantom_edge.export.lint.nodes import weight_bytes
from phantom_edge.export.mil import Package
from phantom_edge.export.settings import Compute, Settings
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.sizes import SIZES
from phantom_edge.shipped import NANO

Shape = tuple[int, ...]
CONTEXT, CHUNK = 128, 16


def array(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


@dataclass(frozen=True)
class Case:
    """Two programs of one shape each, or one body over two shapes: the first breaks the rule, the second keeps it."""

    rule: str
    bad: tuple[Shape, Callable[..., Any]]
    good: tuple[Shape, Callable[..., Any]]
    dtypes: tuple[Any, Any] = (FP16, FP16)
    more: dict[str, tuple[Shape, Any]] = field(default_factory=dict)
    states: tuple[Shape | None, Shape | None] = (None, None)
    ios: int = 18


def relu(x: Any) -> Any:
    return mb.relu(x=x)


def blockwise(*groups: int) -> Any:
    return mb.constexpr_blockwise_shift_scale(data=np.ones((64, 32), np.int8), scale=array(*groups))


def palette(levels: int) -> Any:
    dtype = types.np_uint4_dtype if levels == 16 else np.uint8
    return mb.constexpr_lut_to_dense(
        indices=np.zeros((64, 32)).astype(dtype), lut=np.zeros((1, 1, levels, 1), np.float16)
    )


def affine(x: Any) -> Any:
    weight = mb.constexpr_affine_dequantize(
        quantized_data=np.ones((64, 32), np.int8), scale=array(64), zero_point=np.int8(0), axis=np.int32(0)
    )
    return mb.linear(x=x, weight=weight)


def kept(x: Any, state: Any) -> Any:
    return mb.mul(x=x, y=mb.read_state(input=state))


def cases() -> Iterator[Case]:
    flat, pixels = (1, 64, 1, 32), (1, 4, 32, 64)
    plain = (flat, relu)
    yield Case("formats", plain, plain, dtypes=(FP32, FP16))
    yield Case("formats", plain, plain, dtypes=(INT32, FP16))
    yield Case("formats", (flat, lambda x: mb.cast(x=x, dtype="fp32")), plain)
    yield Case("rank", ((1, 1, 1, 1, 2, 32), relu), ((1, 1, 1, 2, 32), relu))
    yield Case("flexible", (flat, lambda x: mb.non_zero(x=x)), plain)
    yield Case("no-path", (flat, lambda x: mb.reduce_prod(x=x, axes=[1])), (flat, lambda x: mb.reduce_sum(x=x, axes=[1])))
    for shape in ((2, 32), (1, 2, 32)):
        yield Case(
            "no-path",
            (shape, lambda x: mb.scatter(data=x, indices=whole(0), updates=x, axis=0, mode="update", validate_indices=False)),
            (shape, relu),
        ) if shape[0] == 1 else Case(
            "no-path", (shape, lambda x: mb.band_part(x=x)), (shape, relu)
        )
    yield Case(
        "recurrent",
        ((3, 1, 4), lambda x: mb.rnn(x=x, initial_h=array(1, 4), weight_ih=array(4, 4), weight_hh=array(4, 4))[0]),
        ((3, 1, 4), relu),
        ios=15,
        dtypes=(FP16, FP16),
    )
    yield Case(
        "gather",
        (flat, lambda x: mb.gather(x=x, indices=whole(0, 5), axis=1, validate_indices=False)),
        (flat, lambda x: mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, 2, 1, 32])),
    )
    yield Case("sort", (flat, lambda x: mb.topk(x=x, k=2, axis=1)[0]), (flat, lambda x: mb.reduce_max(x=x, axes=[1])))
    yield Case("extent", ((1, 1, 1, 16385), relu), ((1, 1, 1, 16384), relu))
    yield Case("extent", ((1, 1, 16385, 32), relu), ((1, 16385, 1, 32), relu))
    yield Case("extent", ((1, 65537, 1, 32), relu), ((1, 65536, 1, 32), relu))
    yield Case("extent", ((1, 16385), relu), ((16385, 1, 1, 32), relu))
    yield Case("many-channels", ((1, 16385, 1, 32), relu), ((1, 16384, 1, 32), relu))
    for high, wide in ((1, 14), (30, 1)):
        yield Case(
            "kernel",
            (pixels, lambda x, high=high, wide=wide: mb.conv(x=x, weight=array(2, 4, high, wide))),
            (pixels, lambda x, high=high, wide=wide: mb.conv(x=x, weight=array(2, 4, min(high, 29), min(wide, 13)))),
        )
    yield Case(
        "argmax",
        ((1, 2049), lambda x: mb.reduce_argmax(x=x, axis=1)),
        ((1, 2048), lambda x: mb.reduce_argmax(x=x, axis=-1)),
    )
    yield Case(
        "deep-product",
        ((1, 2, 2, 32, 32), lambda x: mb.matmul(x=x, y=x)),
        ((1, 1, 2, 32, 32), lambda x: mb.matmul(x=x, y=x)),
    )
    yield Case(
        "deep-product",
        ((1, 1, 2, 32, 32), lambda x: mb.linear(x=x, weight=array(64, 32))),
        ((1, 2, 32, 32), lambda x: mb.linear(x=x, weight=array(64, 32))),
    )
    tokens = (1, 32, 32)
    for groups in ((64, 2), (32, 1), (1, 32), (2, 2)):
        yield Case(
            "blocks-of-weights",
            (tokens, lambda x, groups=groups: mb.linear(x=x, weight=blockwise(*groups))),
            (tokens, lambda x: mb.linear(x=x, weight=blockwise(64, 1))),
        )
    yield Case(
        "blocks-of-weights",
        ((1, 32, 64), lambda x: mb.matmul(x=x, y=blockwise(64, 1))),
        ((1, 32, 64), lambda x: mb.matmul(x=x, y=blockwise(1, 32))),
    )
    yield Case(
        "blocks-of-weights",
        (tokens, lambda x: mb.matmul(x=x, y=blockwise(1, 32), transpose_y=True)),
        (tokens, lambda x: mb.matmul(x=x, y=blockwise(64, 1), transpose_y=True)),
    )
    for groups in ((64, 1), (1, 1)):
        yield Case(
            "integer-weights",
            (tokens, lambda x, groups=groups: mb.linear(x=x, weight=blockwise(*groups))),
            (tokens, lambda x: mb.linear(x=x, weight=blockwise(64, 2))),
        )
    yield Case("integer-weights", (tokens, affine), (tokens, lambda x: mb.linear(x=x, weight=array(64, 32))), ios=17)
    for name, states in (("small-palettes", (None, None)), ("small-palettes-and-state", ((1, 32), (1, 32)))):
        yield Case(
            name,
            (tokens, lambda x, state=None: mb.linear(x=x if state is None else kept(x, state), weight=palette(16))),
            (tokens, lambda x, state=None: mb.linear(x=x if state is None else kept(x, state), weight=palette(256))),
            states=states,
        )
    yield Case("state-rows", ((1, 48), kept), ((1, 64), kept), states=((1, 48), (1, 64)))
    start = {"start": ((2,), INT32)}
    yield Case(
        "runtime-slices",
        ((4, 32), lambda x, start: mb.slice_by_size(x=x, begin=start, size=[2, 32])),
        ((4, 32), lambda x, start: (mb.slice_by_size(x=x, begin=[1, 0], size=[2, 32]), mb.identity(x=start))),
        more=start,
    )
    yield Case(
        "runtime-slices",
        ((4, 32), lambda x, start: mb.slice_update(x=x, update=array(1, 32), begin=start, end=mb.add(x=start, y=whole(1, 32)))),
        ((4, 32), lambda x, start: (mb.slice_update(x=x, update=array(1, 32), begin=[0, 0], end=[1, 32]), mb.identity(x=start))),
        more=start,
    )
    heads = (1, 2, 32, 32)
    yield Case(
        "fused-attention",
        (heads, lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x)),
        (heads, lambda x: mb.einsum(values=[x, x], equation="nchw,nwhu->nchu")),
    ) if False else Case(
        "fused-attention",
        (heads, lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x)),
        (heads, lambda x: mb.matmul(x=mb.softmax(x=mb.matmul(x=x, y=x, transpose_y=True)), y=x)),
    )
    for product in (
        lambda x: mb.linear(x=x, weight=array(64, 32)),
        lambda x: mb.matmul(x=x, y=array(32, 64)),
        lambda x: mb.matmul(x=array(64, 32), y=x),
    ):
        yield Case("no-conv", (tokens, product), (tokens, lambda x: mb.matmul(x=x, y=x)))
    yield Case("no-conv", (tokens, lambda x: mb.linear(x=x, weight=blockwise(64, 1))), (flat, lambda x: mb.conv(x=x, weight=array(4, 64, 1, 1))))
    yield Case("last-axis-of-one", ((1, 64, 1, 1), relu), ((1, 64, 1, 2), relu))
    yield Case("short-last-axis", ((1, 64, 1, 31), relu), plain)
    yield Case("short-last-axis", ((1, 64, 1, 2), relu), ((1, 64, 1, 1), relu))
    yield Case("odd-factors", (flat, lambda x: mb.tile(x=x, reps=[1, 1, 1, 7])), (flat, lambda x: mb.tile(x=x, reps=[1, 1, 1, 6])))
    yield Case(
        "odd-factors",
        ((1, 3, 28, 28), lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(14))),
        ((1, 3, 32, 32), lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(16))),
    )
    yield Case("trigonometry", (flat, lambda x: mb.cos(x=x)), (flat, lambda x: mb.erf(x=x)))
    for low, op in ((-np.inf, mb.add), (-np.inf, mb.maximum)):
        yield Case(
            "minus-infinity",
            (flat, lambda x, op=op, low=low: op(x=x, y=np.full((1, 1, 1, 32), low, np.float16))),
            (flat, lambda x, op=op: op(x=x, y=np.full((1, 1, 1, 32), -4e4, np.float16))),
        )

"""Weights of a package: float16, or the unchanged integers and palettes of a quantized checkpoint."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import INTEGERS, PALETTES, SCALES, ZEROS, QuantizedFiles
from phantom_edge.checkpoint.quantized.inputs import Inputs
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.coreml.graph import Array, Graph, half, identifier
from phantom_edge.foundation.errors import EdgeError

Span = tuple[int, int]
Held = Callable[[], Quantized]


class Weights:
    """Puts weights into graphs, by their names in the checkpoint. ``ios`` 17 allows only whole rows of 8 bits."""

    def __init__(self, read: Read, integers: QuantizedFiles | None, ios: int) -> None:
        self.read, self.integers, self.ios = read, integers, ios

    def scheme(self, name: str) -> Scheme | None:
        """Returns a weight's scheme, None where it is float."""
        return None if self.integers is None else self.integers.schemes.get(name)

    def inputs(self, name: str) -> Inputs | None:
        """Returns the rounding of a weight's inputs to 8 bits, None where they are not rounded."""
        scheme = self.scheme(name)
        if scheme is None or not scheme.static_inputs:
            return None
        assert self.integers is not None
        return self.integers.about.inputs[name]

    def matrix(self, graph: Graph, name: str, extra: int = 0, span: Span | None = None) -> Any:
        """Returns a weight (rows, columns), or its rows ``span``, with ``extra`` trailing dimensions of 1.

        Where palettes do not divide its rows, padding rows follow.
        """
        key = name if span is None else f"{name}.{span[0]}"
        scheme, tail = self.scheme(name), [1] * extra
        if scheme is None:
            return graph.constant(key, lambda: _half_rows(self.read(name), span, tail))
        if key not in graph.known:
            held = partial(self._cut, name, span)
            draw = self._palettes if scheme.palette_rows else self._affine if self.ios == 17 else self._blocks
            graph.known[key] = draw(graph, key, scheme, held, tail)
        return graph.known[key]

    def _cut(self, name: str, span: Span | None) -> Quantized:
        assert self.integers is not None
        whole = self.integers.quantized(name)
        return whole if span is None else whole.rows(*span)

    def _blocks(self, graph: Graph, key: str, scheme: Scheme, held: Held, tail: list[int]) -> Any:
        """Integers of 4 or 8 bits, with a scale for each block of a row."""
        types = graph.package.ct.converters.mil.mil.types
        kinds = {4: (types.np_int4_dtype, types.np_uint4_dtype), 8: (np.int8, np.uint8)}
        signed, unsigned = kinds[8 if scheme.bits == 8 else 4]  # 3 bits are held in 4

        def make() -> dict[str, Array]:
            weight = held()
            integers, scales = weight.integers.numpy(), half_scales(key, weight)
            found: dict[str, Array] = {"scale": scales.reshape(*scales.shape, *tail)}
            if weight.zero_points is None:
                integers = integers.astype(np.int16) - scheme.middle
            else:
                found["offset"] = weight.zero_points.numpy().astype(unsigned).reshape(found["scale"].shape)
            kind = signed if weight.zero_points is None else unsigned
            return {**found, "data": integers.astype(kind).reshape(*integers.shape, *tail)}

        names = {"data": INTEGERS, "scale": SCALES} | ({} if scheme.symmetric else {"offset": ZEROS})
        return _decoded(graph, graph.mb.constexpr_blockwise_shift_scale, key, names, make)

    def _affine(self, graph: Graph, key: str, scheme: Scheme, held: Held, tail: list[int]) -> Any:
        """Whole rows of 8 bits, in the form of iOS 17."""

        def make() -> dict[str, Array]:
            weight = held()
            integers = (weight.integers.numpy().astype(np.int16) - scheme.middle).astype(np.int8)
            return {
                "quantized_data": integers.reshape(*integers.shape, *tail),
                "scale": half_scales(key, weight)[:, 0],
            }

        op = partial(graph.mb.constexpr_affine_dequantize, zero_point=np.int8(0), axis=np.int32(0))
        return _decoded(graph, op, key, {"quantized_data": INTEGERS, "scale": SCALES}, make)

    def _palettes(self, graph: Graph, key: str, scheme: Scheme, held: Held, tail: list[int]) -> Any:
        """Indices into a palette for every few rows."""
        types, rows = graph.package.ct.converters.mil.mil.types, scheme.palette_rows
        assert rows is not None
        kind = getattr(types, f"np_uint{scheme.bits}_dtype")

        def make() -> dict[str, Array]:
            weight = held()
            assert weight.palettes is not None
            palettes, indices = weight.palettes.numpy(), weight.integers.numpy()
            indices = np.pad(indices, ((0, -len(indices) % rows), (0, 0)))
            return {
                "indices": indices.astype(kind).reshape(*indices.shape, *tail),
                "lut": palettes.reshape(len(palettes), 1, *tail, scheme.levels, 1),
            }

        names = {"indices": INTEGERS, "lut": PALETTES}
        return _decoded(graph, graph.mb.constexpr_lut_to_dense, key, names, make)


def _decoded(
    graph: Graph, op: Callable[..., Any], key: str, parts: Mapping[str, str], make: Callable[[], Mapping[str, Array]]
) -> Any:
    """Applies ``op`` to the arrays of a weight, which are made once for all functions of the package."""
    names = {part: f"{key}.{suffix}" for part, suffix in parts.items()}
    arrays = graph.package.arrays_of(names, make)
    return graph.shared(op(**arrays, name=identifier(key)), names)


def _half_rows(weight: Tensor, span: Span | None, tail: list[int]) -> Array:
    rows = weight if span is None else weight[span[0] : span[1]]
    return half(rows).reshape(*rows.shape, *tail)


def half_scales(name: str, weight: Quantized) -> Array:
    """Returns scales (rows, groups) in float16. Raises EdgeError where that would round them."""
    scales = half(weight.scales)
    if not torch.equal(torch.from_numpy(scales).float(), weight.scales.float()):
        raise EdgeError(
            f"the scales of {name} are no float16 numbers, which is all that this target's graphs hold",
            "quantize the checkpoint before bitsandbytes did: phantom-edge quantize",
        )
    return scales

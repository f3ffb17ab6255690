"""Weights of a package: float16, or the integers and palettes of a quantized checkpoint as they are."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from phantom_edge.errors import EdgeError
from phantom_edge.export.layer_form import Read
from phantom_edge.export.mlpackage.graph import Array, Graph, half
from phantom_edge.quantize.folder import INTEGERS, PALETTES, SCALES, ZEROS, QuantizedFiles
from phantom_edge.quantize.inputs import Inputs
from phantom_edge.quantize.schemes import Quantized, Scheme

Span = tuple[int, int]


class Weights:
    """Puts weights into graphs, by their names in the checkpoint. ``ios`` 17 knows whole rows of 8 bits alone."""

    def __init__(self, read: Read, integers: QuantizedFiles | None, ios: int) -> None:
        self.read, self.integers, self.ios = read, integers, ios

    def scheme(self, name: str) -> Scheme | None:
        """Of a weight, None where it is float."""
        return None if self.integers is None else self.integers.schemes.get(name)

    def inputs(self, name: str) -> Inputs | None:
        """How what reads a weight is rounded to 8 bits, None where it is not."""
        scheme = self.scheme(name)
        if scheme is None or not scheme.static_inputs:
            return None
        assert self.integers is not None
        return self.integers.about.inputs[name]

    def matrix(self, graph: Graph, name: str, extra: int = 0, span: Span | None = None) -> Any:
        """A weight (rows, columns), with ``extra`` dimensions of 1 behind; of ``span``, only those rows.

        Where palettes do not divide its rows, more rows follow, of no meaning.
        """
        key = name if span is None else f"{name}.{span[0]}"
        scheme = self.scheme(name)
        if scheme is None:
            return graph.constant(key, lambda: half(self._rows(name, span)).reshape(*self._shape(name, span, extra)))
        if key not in graph.known:
            draw = self._palettes if scheme.palette_rows else self._affine if self.ios == 17 else self._blocks
            graph.known[key] = draw(graph, key, self._cut(name, span), extra)
        return graph.known[key]

    def _shape(self, name: str, span: Span | None, extra: int) -> tuple[int, ...]:
        return (-1, self.read(name).shape[1], *[1] * extra)

    def _rows(self, name: str, span: Span | None) -> torch.Tensor:
        found = self.read(name)
        return found if span is None else found[span[0] : span[1]]

    def _cut(self, name: str, span: Span | None) -> Quantized:
        assert self.integers is not None
        whole = self.integers.quantized(name)
        return whole if span is None else whole.rows(*span)

    def _blocks(self, graph: Graph, key: str, weight: Quantized, extra: int) -> Any:
        """Integers of 4 or 8 bits, a scale for each block of a row."""
        scheme, mil = weight.scheme, graph.package.ct.converters.mil.mil.types
        tail = [1] * extra
        kinds = {4: (mil.np_int4_dtype, mil.np_uint4_dtype), 8: (np.int8, np.uint8)}
        signed, unsigned = kinds[8 if scheme.bits == 8 else 4]  # 3 bits are held in 4
        integers, scales = weight.integers.numpy(), half_scales(key, weight)
        names = {"data": f"{key}.{INTEGERS}", "scale": f"{key}.{SCALES}"}
        given: dict[str, Array] = {"scale": scales.reshape(*scales.shape, *tail)}
        if weight.zero_points is None:
            integers = (integers.astype(np.int16) - scheme.middle).astype(signed)
        else:
            integers = integers.astype(unsigned)
            given["offset"] = weight.zero_points.numpy().astype(unsigned).reshape(given["scale"].shape)
            names["offset"] = f"{key}.{ZEROS}"
        given["data"] = integers.reshape(*integers.shape, *tail)
        return self._made(graph, graph.mb.constexpr_blockwise_shift_scale, key, given, names)

    def _affine(self, graph: Graph, key: str, weight: Quantized, extra: int) -> Any:
        """Whole rows of 8 bits, as iOS 17 has them."""
        integers = (weight.integers.numpy().astype(np.int16) - weight.scheme.middle).astype(np.int8)
        given: dict[str, Array] = {
            "quantized_data": integers.reshape(*integers.shape, *[1] * extra),
            "scale": half_scales(key, weight)[:, 0],
        }
        names = {"quantized_data": f"{key}.{INTEGERS}", "scale": f"{key}.{SCALES}"}
        arrays = {part: graph.package.array(names[part], lambda part=part: given[part]) for part in given}  # type: ignore[misc]
        found = graph.mb.constexpr_affine_dequantize(
            **arrays, zero_point=np.int8(0), axis=np.int32(0), name=key.replace(".", "_")
        )
        return graph.shared(found, names)

    def _palettes(self, graph: Graph, key: str, weight: Quantized, extra: int) -> Any:
        """Indices into a palette for every few rows."""
        scheme, mil = weight.scheme, graph.package.ct.converters.mil.mil.types
        assert weight.palettes is not None and scheme.palette_rows is not None
        indices = weight.integers.numpy()
        indices = np.pad(indices, ((0, -len(indices) % scheme.palette_rows), (0, 0)))
        kinds = {1: mil.np_uint1_dtype, 2: mil.np_uint2_dtype, 3: mil.np_uint3_dtype, 4: mil.np_uint4_dtype}
        indices = indices.astype(kinds[scheme.bits])
        palettes = weight.palettes.numpy()
        given: dict[str, Array] = {
            "indices": indices.reshape(*indices.shape, *[1] * extra),
            "lut": palettes.reshape(len(palettes), 1, *[1] * extra, scheme.levels, 1),
        }
        names = {"indices": f"{key}.{INTEGERS}", "lut": f"{key}.{PALETTES}"}
        return self._made(graph, graph.mb.constexpr_lut_to_dense, key, given, names)

    def _made(
        self, graph: Graph, op: Callable[..., Any], key: str, given: dict[str, Array], names: dict[str, str]
    ) -> Any:
        arrays = {part: graph.package.array(names[part], lambda part=part: given[part]) for part in given}  # type: ignore[misc]
        return graph.shared(op(**arrays, name=key.replace(".", "_")), names)


def half_scales(name: str, weight: Quantized) -> Array:
    """Scales (rows, groups) in float16. Raises EdgeError where that would round them."""
    scales = half(weight.scales)
    if not torch.equal(torch.from_numpy(scales).float(), weight.scales.float()):
        raise EdgeError(
            f"the scales of {name} are no float16 numbers, which is all that this target's graphs hold",
            "quantize the checkpoint before bitsandbytes did: phantom-edge quantize",
        )
    return scales

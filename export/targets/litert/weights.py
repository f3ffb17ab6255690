"""Weights of linear layers: float32, or the unchanged integers of a quantized checkpoint.

Rows of 8 or 4 bits have a float32 scale each; XNNPACK rounds their inputs to 8 bits, row by row, at run time. Blocks of
4 bits have float16 scales, which XNNPACK rounds to bfloat16 without a word: only scales that are bfloat16 numbers
already are drawn.
"""

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import INTEGERS, SCALES, QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, packed
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.litert.graph import Graph, Value
from phantom_edge.export.targets.litert.model_file import Array

BLOCK = 32
"""The block of 4 bits whose products were compared with this project's definition, over shapes and rows."""


class Weights:
    """Puts weights into graphs, by their names in the checkpoint."""

    def __init__(self, read: Read, integers: QuantizedFiles | None) -> None:
        self.read, self.integers = read, integers
        self.row_scales = cache(self._row_scales)

    def scheme(self, name: str) -> Scheme | None:
        """Returns a weight's scheme, None where it is float."""
        return None if self.integers is None else self.integers.schemes.get(name)

    def quantized(self, name: str) -> Quantized:
        """Returns a quantized weight."""
        assert self.integers is not None
        return self.integers.quantized(name)

    def matrix(self, graph: Graph, name: str, shape: tuple[int, int], scale: str | None = None) -> Value:
        """Returns a weight (rows, columns), a float one with its rows multiplied by the vector called ``scale``."""
        scheme = self.scheme(name)
        if scheme is None:
            return graph.constant(name, shape, partial(self._floats, name, scale))
        known = f"{name}.{INTEGERS}"
        is_new = known not in graph.constants
        value = graph.constant(known, shape, lambda: integers_of(self.quantized(name)), f"int{scheme.bits}")
        if is_new:
            about = self._rows(graph, name, shape) if scheme.group is None else self._blocks(graph, name, shape, scheme)
            graph.graph.tensors[value.index].quantization = about
        return value

    def vector(self, graph: Graph, name: str, width: int, scale: str | None = None) -> Value:
        """Returns a vector, multiplied by the one called ``scale``."""
        return graph.constant(name, (width,), partial(self._floats, name, scale))

    def _floats(self, name: str, scale: str | None) -> Array:
        found = self.read(name).float()
        if scale is not None:
            found = found * self.read(scale).float().view(-1, *[1] * (found.ndim - 1))
        return np.asarray(found.reshape(-1) if found.ndim == 1 else found.contiguous())

    def _rows(self, graph: Graph, name: str, shape: tuple[int, int]) -> Any:
        """Returns the scales of whole rows, of bytes or of 4 bits."""
        about = graph.types.QuantizationParametersT()
        about.scale = self.row_scales(name)
        about.zeroPoint = np.zeros(shape[0], np.int64)
        about.quantizedDimension = 0
        return about

    def _row_scales(self, name: str) -> Array:
        return np.asarray(self.quantized(name).scales[:, 0].float())

    def _blocks(self, graph: Graph, name: str, shape: tuple[int, int], scheme: Scheme) -> Any:
        """Returns the scales of blocks of 4 bits, two of which are in a byte, the first in the low half."""
        assert scheme.group is not None
        scales = graph.constant(
            f"{name}.{SCALES}",
            (shape[0], shape[1] // scheme.group),
            lambda: np.asarray(self.quantized(name).scales.half()),
            "float16",
        )
        details = graph.types.BlockwiseQuantizationT()
        details.scales, details.zeroPoints, details.blockSize = scales.index, -1, scheme.group
        about = graph.types.QuantizationParametersT()
        about.detailsType = graph.types.QuantizationDetails.BlockwiseQuantization
        about.details = details
        return about


def signed(held: Quantized) -> Tensor:
    """Returns int8 integers (rows, columns) around 0."""
    assert held.zero_points is None and held.palettes is None
    return (held.integers.short() - held.scheme.middle).to(torch.int8)


def integers_of(held: Quantized) -> Array:
    """Returns integers around 0 as a file holds them: bytes, or 4 bits in two's complement, packed."""
    integers = signed(held)
    return np.asarray(integers if held.scheme.bits == 8 else packed(integers.view(torch.uint8) & 15))

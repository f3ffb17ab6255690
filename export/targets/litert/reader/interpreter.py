"""Interpreter of the operators that graphs here use, in float32: quantized weights are dequantized, nothing rounded."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.targets.litert.reader.model import Array, Operator, ReadGraph
from phantom_edge.foundation.errors import EdgeError

MOST_HELD = 2**30
"""Maximum size of dequantized weights that are kept from run to run, bytes."""

Kernel = Callable[[Any, Sequence[torch.Tensor]], torch.Tensor]


class Interpreter:
    """Runs one graph. Raises EdgeError for an operator that it does not know."""

    def __init__(self, graph: ReadGraph) -> None:
        self.graph = graph
        unknown = sorted({one.kind for one in graph.operators} - KERNELS.keys())
        if unknown:
            raise EdgeError(f"{graph.name} has operators that graphs of this target lack: {', '.join(unknown)}", AGAIN)
        self.held: dict[int, torch.Tensor] = {}
        self.bytes = 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the outputs."""
        graph = self.graph
        values = {number: torch.from_numpy(np.ascontiguousarray(inputs[name])) for name, number in graph.inputs.items()}
        for number, one in enumerate(graph.operators):
            found = KERNELS[one.kind](one.options, [self._input(values, place) for place in one.inputs if place >= 0])
            wanted = graph.tensors[one.outputs[0]].shape
            if tuple(found.shape) != wanted:
                raise EdgeError(f"{one.kind} of {graph.name} computes {tuple(found.shape)}, and lists {wanted}", AGAIN)
            values[one.outputs[0]] = found
            for place in self.dead[number]:
                values.pop(place, None)
        return {name: values[number].numpy() for name, number in graph.outputs.items()}

    def _input(self, values: dict[int, torch.Tensor], number: int) -> torch.Tensor:
        if number in values:
            return values[number]
        if number not in self.held:
            found = torch.from_numpy(np.array(self.graph.weight(number)))
            if self.bytes + found.nbytes > MOST_HELD:
                return found
            self.bytes += found.nbytes
            self.held[number] = found
        return self.held[number]

    @cached_property
    def dead(self) -> list[list[int]]:
        """Tensors that nothing reads any more, by operator."""
        kept = set(self.graph.outputs.values())
        found: list[list[int]] = []
        for one in reversed(self.graph.operators):
            found.append([place for place in {*one.inputs, *one.outputs} if place not in kept])
            kept |= {*one.inputs, *one.outputs}
        return found[::-1]


def _dense(_: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    return F.linear(*given)


def _matrices(options: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    return given[0] @ (given[1].mT if options.adjY else given[1])


def _patches(options: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    x, weight, bias = given
    found = F.conv2d(x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2), bias, (options.strideH, options.strideW))
    return found.permute(0, 2, 3, 1)


def _slice(_: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    x, start, size = given
    places = zip(start.tolist(), size.tolist(), strict=True)
    return x[tuple(slice(begin, begin + count) for begin, count in places)]


def _updated(_: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    """Writes rows; a start from which they would reach past the end is moved back, as LiteRT does."""
    x, rows, start = given
    ends = zip(start.tolist(), x.shape, rows.shape, strict=True)
    begins = [max(0, min(begin, whole - part)) for begin, whole, part in ends]
    found = x.clone()
    found[tuple(slice(begin, begin + part) for begin, part in zip(begins, rows.shape, strict=True))] = rows
    return found


def _cast(options: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    return given[0].to({0: torch.float32, 2: torch.int32}[options.outDataType])


def _mean(options: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    return given[0].mean(given[1].tolist(), keepdim=bool(options.keepDims))


def _gelu(options: Any, given: Sequence[torch.Tensor]) -> torch.Tensor:
    return F.gelu(given[0], approximate="tanh" if options.approximate else "none")


KERNELS: dict[str, Kernel] = {
    "ADD": lambda _, given: given[0] + given[1],
    "SUB": lambda _, given: given[0] - given[1],
    "MUL": lambda _, given: given[0] * given[1],
    "RESHAPE": lambda _, given: given[0].reshape(given[1].tolist()),
    "TRANSPOSE": lambda _, given: given[0].permute(given[1].tolist()).contiguous(),
    "CONCATENATION": lambda options, given: torch.cat(list(given), options.axis),
    "SLICE": _slice,
    "SOFTMAX": lambda options, given: (given[0] * options.beta).softmax(-1),
    "GELU": _gelu,
    "LOGISTIC": lambda _, given: given[0].sigmoid(),
    "RSQRT": lambda _, given: given[0].rsqrt(),
    "MEAN": _mean,
    "BATCH_MATMUL": _matrices,
    "FULLY_CONNECTED": _dense,
    "EMBEDDING_LOOKUP": lambda _, given: given[1][given[0].long()],
    "DYNAMIC_UPDATE_SLICE": _updated,
    "CAST": _cast,
    "MAXIMUM": lambda _, given: torch.maximum(*given),
    "MINIMUM": lambda _, given: torch.minimum(*given),
    "COS": lambda _, given: given[0].cos(),
    "SIN": lambda _, given: given[0].sin(),
    "CONV_2D": _patches,
}
"""Operators by kind: from attributes and inputs to the one output."""


def multiply_adds(graph: ReadGraph, one: Operator) -> int:
    """Returns the multiply-adds of an operator."""
    shapes = [graph.tensors[place].shape for place in (*one.inputs, *one.outputs) if place >= 0]
    out = int(np.prod(graph.tensors[one.outputs[0]].shape))
    if one.kind == "FULLY_CONNECTED":
        return out * shapes[1][1]
    if one.kind == "BATCH_MATMUL":
        return out * shapes[0][-1]
    return out * int(np.prod(shapes[1][1:])) if one.kind == "CONV_2D" else 0

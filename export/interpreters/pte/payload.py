"""Payloads for XNNPACK: a header, a graph, and constants behind it or by name in the program.

The layout is that of ExecuTorch's backends/xnnpack/serialization (schema.fbs, and XNNHeader for the header).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.interpreters.pte.container import BROKEN, one_line, refuse, tensor_of
from phantom_edge.export.interpreters.pte.flatbuffer import SERIALIZE, graphs_of
from phantom_edge.export.interpreters.pte.held import Held, unpacked
from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.foundation.errors import EdgeError

INPUT, OUTPUT = 1, 2
"""Flags of the graph's input and output values."""

UNNAMED = 2**64 - 1
"""Offset of data that is in the program, not behind the graph."""

NOBODY = 2**32 - 1
"""Number that stands for no value."""

Shape = tuple[int, ...]
Find = Callable[[int, int], bytes]
"""Finds constant data by its number and required size, bytes."""


@dataclass(frozen=True)
class XnnValue:
    """A tensor of a graph; ``shape`` is its upper bound. ``is_rounded``: rounded to 8 bits, row by row."""

    shape: Shape
    is_rounded: bool
    constant: Tensor | Held | None
    flags: int
    external: int


@dataclass(frozen=True)
class XnnNode:
    """A node. ``about`` maps the schema's names to its parameters, except its inputs and output."""

    type: str
    inputs: tuple[int, ...]
    output: int
    about: Mapping[str, int | list[int]]


@dataclass(frozen=True)
class XnnGraph:
    """Values by number, and nodes in order of execution."""

    values: Mapping[int, XnnValue]
    nodes: tuple[XnnNode, ...]


def read_payloads(payloads: Sequence[bytes], named: Mapping[str, bytes]) -> list[XnnGraph]:
    """The graphs of a method's payloads. Raises EdgeError for damaged ones, or ones that are not understood."""
    try:
        headers = [_header(one) for one in payloads]
    except BROKEN as error:
        raise EdgeError(f"a payload of XNNPACK in the program is damaged: {one_line(error)}", AGAIN) from error
    graphs = graphs_of([graph for graph, _ in headers])
    try:
        return [_graph(graph, behind, named) for graph, (_, behind) in zip(graphs, headers, strict=True)]
    except BROKEN as error:
        raise EdgeError(f"a graph of XNNPACK in the program is damaged: {one_line(error)}", AGAIN) from error


def _header(payload: bytes) -> tuple[bytes, bytes]:
    """The graph's bytes, and those behind it."""
    kind = executorch(SERIALIZE).XNNHeader
    header = kind.from_bytes(payload[: kind.EXPECTED_LENGTH])
    start, size = header.flatbuffer_offset, header.flatbuffer_size
    end = header.constant_data_offset + header.constant_data_size
    if not header.is_valid() or max(start + size, end) > len(payload):
        raise ValueError(f"it has {len(payload)} bytes and begins with {header}")
    return payload[start : start + size], payload[header.constant_data_offset : end]


def _graph(graph: Mapping[str, Any], behind: bytes, named: Mapping[str, bytes]) -> XnnGraph:
    def find(number: int, size: int) -> bytes:
        entry = graph["constant_data"][number]
        key, offset = entry["named_key"], entry["offset"]
        if bool(key) != (offset == UNNAMED):
            raise ValueError(f"constant data {number} has both a name and a place, or neither")
        data = named[key] if key else behind[offset : offset + entry["size"]]
        if entry["size"] != size or len(data) != size:
            raise ValueError(f"constant data {number} has {len(data)} bytes and needs {size}")
        return data

    values: dict[int, XnnValue] = {}
    for one in graph["xvalues"]:
        number, value = _value(one["xvalue_union_type"], one["xvalue_union"], find)
        if number in values:
            raise ValueError(f"value {number} is there twice")
        values[number] = value
    nodes = tuple(_node(one) for one in graph["xnodes"])
    for flag, listed in ((INPUT, graph["input_ids"]), (OUTPUT, graph["output_ids"])):
        if sorted(listed) != sorted(number for number, value in values.items() if value.flags == flag):
            raise ValueError("its list of inputs or outputs is not that of its values")
    return XnnGraph(values, nodes)


def _value(kind: str, value: Mapping[str, Any], find: Find) -> tuple[int, XnnValue]:
    is_quantized = kind == "XNNQuantizedTensorValue"
    if not is_quantized and kind != "XNNTensorValue":
        raise refuse(f"XNNPACK's value {kind}")
    held: Mapping[str, Any] = value["tensor_value"] if is_quantized else value
    shape, dtype, flags = tuple(held["dims"]), held["datatype"].removeprefix("xnn_datatype_"), held["flags"]
    if len(shape) != held["num_dims"] or flags not in (0, INPUT, OUTPUT):
        raise refuse(f"XNNPACK's value with flags {flags} and {held['num_dims']} dimensions of {shape}")
    constant: Tensor | Held | None = None
    place = held["constant_buffer_idx"]
    about = value["quant_params"] if is_quantized else {}
    read = (dtype, value.get("quant_params_type", "") if is_quantized else "", bool(place))
    match read:
        case ("fp32", "", True):
            constant = tensor_of(find(place, math.prod(shape) * 4), torch.float32, shape)
        case ("qcint8", "PerChannelQuant", True):
            constant = _held(shape, place, about, find)
        case ("qbint4", "PerChannelGroupQuant", True):
            constant = _held_in_groups(shape, place, about, find)
        case ("fp32", "", False):
            pass
        case ("qdint8", "PerTokenDynamicQuant", False) if about["num_nonbatch_dims"] == 1:
            pass
        case _:
            raise refuse(f"XNNPACK's value of {dtype}{f' with {read[1]}' if read[1] else ''}")
    return held["id_out"], XnnValue(shape, dtype == "qdint8", constant, flags, held["external_id"])


def _held(shape: Shape, place: int, about: Mapping[str, Any], find: Find) -> Held:
    """Reads a byte per integer, and a float32 scale per row."""
    rows, columns = _matrix(shape, about)
    integers = tensor_of(find(place, rows * columns), torch.int8, shape)
    scales = tensor_of(find(_scales(about, rows), rows * 4), torch.float32, (rows, 1))
    return Held(integers, scales)


def _held_in_groups(shape: Shape, place: int, about: Mapping[str, Any], find: Find) -> Held:
    """Reads two integers per byte, the first in its low half, each offset by 8; and a bfloat16 scale per group."""
    rows, columns = _matrix(shape, about)
    groups, rest = divmod(columns, about["group_size"])
    if rest or columns % 2:
        raise ValueError(f"{columns} columns are in groups of {about['group_size']}")
    packed = tensor_of(find(place, rows * columns // 2), torch.uint8, (rows, columns // 2))
    scales = tensor_of(find(_scales(about, rows * groups), rows * groups * 2), torch.bfloat16, (rows, groups))
    return Held(unpacked(packed, low_first=True), scales.float())


def _matrix(shape: Shape, about: Mapping[str, Any]) -> tuple[int, int]:
    if len(shape) != 2 or about["channel_dim"] != 0 or about["scale"]:
        raise refuse("XNNPACK's weight that is no matrix with scales of its rows beside it")
    return shape[0], shape[1]


def _scales(about: Mapping[str, Any], wanted: int) -> int:
    if about["num_scales"] != wanted:
        raise ValueError(f"a weight has {about['num_scales']} scales and needs {wanted}")
    found: int = about["scale_buffer_idx"]
    return found


def _node(node: Mapping[str, Any]) -> XnnNode:
    kind, about = node["xnode_union_type"], node["xnode_union"]
    if node.get("output_min_max") is not None or about.get("flags"):
        raise refuse(f"XNNPACK's node {kind} with bounds or flags")
    outputs = [name for name in about if name.startswith("output") and name.endswith("_id")]
    if len(outputs) != 1:
        raise refuse(f"XNNPACK's node {kind} with {len(outputs)} outputs")
    inputs = [name for name in about if name.endswith("_id") and name not in outputs]
    if not set(inputs) <= set(PLACES):
        raise refuse(f"XNNPACK's node {kind}")
    given = tuple(about[name] for name in sorted(inputs, key=PLACES.index))
    numbers = {name: value for name, value in about.items() if not name.endswith("_id") and name != "flags"}
    if any(isinstance(one, float) for one in numbers.values()):
        raise refuse(f"XNNPACK's node {kind} with a number that flatc rounds")
    return XnnNode(kind, given, about[outputs[0]], numbers)


PLACES = ["input_id", "input1_id", "filter_id", "bias_id", "input2_id", "input3_id", "input4_id", "input5_id"]
"""Names of nodes' inputs, in the nodes' order."""

"""Weights of a quantized checkpoint in the files of a target, read without the code that wrote them.

There is one function for each file format; all return dequantized weights, which the tests compare with one definition.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.export.interpreters.mil.package import Package

Weights = dict[str, NDArray[np.float32]]
PARTS_OF = {"qkv": ("q", "k", "v"), "gate_up": ("gate", "up")}


def compare_weights(
    bundle: Bundle, files: QuantizedFiles, graphs: Sequence[str] = ("vision.onnx", "decoder.onnx")
) -> set[str]:
    """Compare each matrix of these graphs with the checkpoint's, bit for bit; returns the names of those compared."""
    compared: set[str] = set()
    matrices_ = {name: weight for graph in graphs for name, weight in onnx_weights(bundle.file(graph)).items()}
    for name, got in matrices_.items():
        key = name.removesuffix(".bytes")  # a second form of the same numbers
        match = re.fullmatch(r"(.*(?:self_attn|mlp)\.)(qkv|gate_up)\.weight(?:\.(\d+))?", key)
        names = [key] if match is None else [f"{match[1]}{part}_proj.weight" for part in PARTS_OF[match[2]]]
        runs = [list(run) for _, run in groupby(names, key=files.schemes.get)]
        names = runs[int(match[3]) if match and match[3] else 0]
        want = torch.cat([files.quantized(name).dequantize() for name in names])
        assert np.array_equal(got, want.numpy()), key
        compared.update(names)
    return compared


def onnx_weights(path: Path) -> Weights:
    """Weights (rows, columns) of an ONNX graph, by the names of their integers.

    Read from MatMulNBits, MatMulIntegerToFloat and DequantizeLinear, as their documents define them.
    """
    model = onnx.load(path)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found, turned = {}, {}
    for node in _nodes(model.graph):
        if node.op_type == "Transpose" and node.input[0] in arrays:
            turned[node.output[0]] = node.input[0]
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            found[node.input[0].removesuffix(".integers")] = _dequantized(node, arrays).T
        is_weight = len(node.input) > 1 and turned.get(node.input[1], node.input[1]) in arrays
        if node.op_type == "MatMulIntegerToFloat" and is_weight:
            name = turned.get(node.input[1], node.input[1])
            integers = arrays[name].astype(np.float32) if name in turned.values() else arrays[name].astype(np.float32).T
            zero = arrays[node.input[5]].astype(np.float32) if len(node.input) > 5 and node.input[5] else 0
            found[name.removesuffix(".integers")] = (integers - zero) * arrays[node.input[3]][:, None]
        if node.op_type != "MatMulNBits":
            continue
        about = {attribute.name: attribute.i for attribute in node.attribute}
        rows, columns, bits, block = (about[name] for name in ("N", "K", "bits", "block_size"))
        blocks = -(-columns // block)
        integers = _unpacked(arrays[node.input[1]].reshape(rows, -1), bits)
        zeros = np.full((rows, blocks), 2 ** (bits - 1))
        if len(node.input) > 3 and node.input[3]:
            zeros = _unpacked(arrays[node.input[3]].reshape(rows, -1), bits)[:, :blocks]
        scales = arrays[node.input[2]].reshape(rows, blocks).astype(np.float32)
        whole = (integers.reshape(rows, blocks, block) - zeros[..., None]).astype(np.float32) * scales[..., None]
        found[node.input[1].removesuffix(".integers")] = whole.reshape(rows, -1)[:, :columns]
    return found


def coreml_weights(path: Path) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Integers and weights (rows, columns) of a Core ML package, by the names of its constants.

    Read from constexpr_blockwise_shift_scale, constexpr_affine_dequantize and constexpr_lut_to_dense, as their
    documents define them.
    """
    found = {}
    package = Package.open(path)
    for function in package.functions:
        for name, held in package.compressed(function).items():
            arrays = {part: held.array(part) for part in held.parts if part not in ("axis", "shape")}
            integers = arrays.get("data", arrays.get("quantized_data", arrays.get("indices")))
            assert integers is not None
            shape = (integers.shape[0], integers.shape[1])
            assert integers.size == shape[0] * shape[1]
            integers = integers.reshape(shape).astype(np.int64)
            if held.type == "constexpr_lut_to_dense":
                palettes = arrays["lut"].reshape(len(arrays["lut"]), -1).astype(np.float32)
                rows = np.arange(shape[0]) // (shape[0] // len(palettes))
                weight = palettes[rows[:, None], integers]
            else:
                scales = arrays["scale"].reshape(shape[0], -1).astype(np.float32)
                zeros = arrays.get("offset", arrays.get("zero_point", np.zeros(1))).astype(np.float32)
                zeros = np.broadcast_to(
                    zeros.reshape(-1, 1) if zeros.size == 1 else zeros.reshape(scales.shape), scales.shape
                )
                grouped = integers.reshape(*scales.shape, -1).astype(np.float32)
                weight = ((grouped - zeros[..., None]) * scales[..., None]).reshape(shape)
            assert name not in found or np.array_equal(found[name][1], weight)
            found[name] = integers, weight
    return found


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Nodes of a graph and of its branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _dequantized(node: onnx.NodeProto, arrays: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Weights (columns, rows) of a DequantizeLinear."""
    about = {attribute.name: attribute.i for attribute in node.attribute}
    integers = arrays[node.input[0]].astype(np.float32)
    others = [arrays[name].astype(np.float32) for name in node.input[1:]]
    if "block_size" in about:
        others = [np.repeat(one, about["block_size"], axis=about["axis"]) for one in others]
    else:
        others = [
            one.reshape([-1 if axis == about["axis"] else 1 for axis in (0, 1)]) if one.ndim else one for one in others
        ]
    scales, zeros = others if len(others) == 2 else (others[0], np.float32(0))
    return (integers - zeros) * scales


def _unpacked(bytes_: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    parts = [(bytes_ >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(bytes_), -1).astype(np.int64)

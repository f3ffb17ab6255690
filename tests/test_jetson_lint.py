"""The rules of target jetson: each is broken by one small graph, and kept by its neighbour."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from phantom_edge.export.targets.jetson.lint import RULES, broken
from phantom_edge.foundation.errors import EdgeError

pytest.importorskip("onnxruntime")


def graph(
    nodes: Sequence[Any],
    held: dict[str, NDArray[Any] | onnx.TensorProto],
    opset: int = 21,
    kind: int = TensorProto.FLOAT16,
) -> onnx.ModelProto:
    """A graph from x to y."""
    tensors = []
    for name, value in held.items():
        tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value)
        tensor.name = name
        tensors.append(tensor)
    port = helper.make_tensor_value_info("x", kind, ["N", 128])
    out = helper.make_tensor_value_info("y", kind, None)
    made = helper.make_graph(nodes, "g", [port], [out], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def node(kind: str, *inputs: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], domain=domain, **attributes)


def dequantized(bits: int = 4, block: int = 64, axis: int = 0, scale: float = 1.0, **more: Any) -> onnx.ModelProto:
    """A weight (128, 64)."""
    kind = more.get("kind", TensorProto.INT4 if bits == 4 else TensorProto.INT8)
    held: dict[str, Any] = {"w": helper.make_tensor("w", kind, [128, 64], [1] * (128 * 64))}
    shape = (64,) if not block else (128 // block, 64) if axis == 0 else (128, 64 // block)
    held["s"] = np.full(shape, scale, np.float16)
    held |= (
        {"z": helper.make_tensor("z", kind, list(shape), [more["zero"]] * int(np.prod(shape)))}
        if "zero" in more
        else {}
    )
    places = {"axis": axis, "block_size": block} if block else {"axis": 1}
    inputs = [more.get("weight", "w"), more.get("scales", "s"), *(["z"] if "zero" in more else [])]
    return graph([node("DequantizeLinear", *inputs, **places)], held, kind=more.get("out", TensorProto.FLOAT16))


RELU = graph([node("Sigmoid", "x")], {})
PLAIN8, PLAIN4 = dequantized(8, 0), dequantized()
CASES: dict[str, tuple[onnx.ModelProto, onnx.ModelProto]] = {
    "opset": (graph([node("Sigmoid", "x")], {}, 23), RELU),
    "domain": (graph([node("MatMulNBits", "x", domain="com.microsoft")], {}), RELU),
    "operator": (graph([node("MatMulInteger", "x", "x")], {}), graph([node("MatMul", "x", "x")], {})),
    "later-operator": (graph([node("Gelu", "x")], {}, 20), graph([node("Erf", "x")], {}, 20)),
    "types": (dequantized(kind=TensorProto.UINT4), PLAIN4),
    "constants": (dequantized(weight="x"), PLAIN4),
    "zero-points": (dequantized(zero=1), dequantized(zero=0)),
    "scales": (dequantized(scale=-1.0), PLAIN4),
    "scale-types": (dequantized(scales="w"), PLAIN4),
    "block-size": (dequantized(block=32), dequantized(block=128)),
    "block-axis": (
        graph(
            [node("DequantizeLinear", "w", "s", axis=0, block_size=64)],
            {
                "w": helper.make_tensor("w", TensorProto.INT4, [64, 2, 2], [1] * 256),
                "s": np.ones((1, 2, 2), np.float16),
            },
        ),
        dequantized(axis=1),
    ),
    "axes": (
        graph([node("ReduceMean", "x", "x")], {}),
        graph([node("ReduceMean", "x", "a")], {"a": np.array([-1])}),
    ),
    "attention": (
        graph([node("Attention", "x", "x", "x", "", "x")], {}),
        graph([node("Attention", "x", "x", "x")], {}),
    ),
    "int64": (
        graph([node("Slice", "x", "a", "b")], {"a": np.array([0]), "b": np.array([2**63 - 1])}),
        graph([node("Slice", "x", "a", "b")], {"a": np.array([0]), "b": np.array([2**31 - 1])}),
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_is_broken_and_its_neighbour_is_not(rule: str, tmp_path: Path) -> None:
    bad, good = CASES[rule]
    onnx.save(bad, tmp_path / "bad.onnx")
    onnx.save(good, tmp_path / "good.onnx")
    assert rule in broken(tmp_path / "bad.onnx") and rule not in broken(tmp_path / "good.onnx")


def test_blocks_of_eight_bits_and_none_of_four(tmp_path: Path) -> None:
    for number, (model, is_broken) in enumerate(
        ((PLAIN8, False), (dequantized(8, 64), True), (dequantized(4, 0), True))
    ):
        onnx.save(model, tmp_path / f"{number}.onnx")
        assert ("block-size" in broken(tmp_path / f"{number}.onnx")) is is_broken


def test_every_rule_has_a_case_and_a_source() -> None:
    assert {rule.name for rule in RULES} == CASES.keys() and len(CASES) == len(RULES)
    for rule in RULES:
        assert rule.what and rule.sources and all(source.url.startswith("https://") for source in rule.sources)


def test_a_damaged_graph_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\xff\x00garbage")
    with pytest.raises(EdgeError, match="is no ONNX graph"):
        broken(tmp_path / "x.onnx")
    with pytest.raises(EdgeError, match="is no ONNX graph"):
        broken(tmp_path / "nothing.onnx")

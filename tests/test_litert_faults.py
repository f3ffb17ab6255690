"""Silent faults of LiteRT's kernels: each is drawn, found by a rule, and by a proof, which compares with the reader."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")

from litert_graphs import graph_of, run, runtimes

from phantom_edge.export.targets.litert.graph import Value
from phantom_edge.export.targets.litert.importing import schema
from phantom_edge.export.targets.litert.lint import broken, rules_for
from phantom_edge.export.targets.litert.operator_lists import LISTS
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.reader.model import read_model
from phantom_edge.foundation.errors import EdgeError

Array = NDArray[Any]
ROWS, COLUMNS, BLOCK = 8, 64, 32
INTEGERS = np.random.default_rng(0).integers(-8, 8, (ROWS, COLUMNS))
ROUND = np.float32(0.5) ** (np.arange(ROWS * COLUMNS // BLOCK, dtype=np.float32).reshape(ROWS, -1) % 4)
"""Scales that are bfloat16 numbers."""


def weight(graph: Operators, scales: Array, form: str = "float16", block: int = BLOCK, dtype: str = "int4") -> Value:
    """Integers in blocks, whose scales are stored in a format."""

    def stored() -> Array:
        halves = (INTEGERS & 15).astype(np.uint8)
        return INTEGERS.astype(np.int8) if dtype == "int8" else halves[:, 0::2] | (halves[:, 1::2] << 4)

    def numbers() -> Array:
        whole = scales.astype(np.float32)
        return {
            "float16": lambda: whole.astype(np.float16),
            "float32": lambda: whole,
            "bfloat16": lambda: (whole.view(np.uint32) >> 16).astype(np.uint16),
        }[form]()

    value = graph.constant("weight", (ROWS, COLUMNS), stored, dtype)
    held = graph.constant("scales", scales.shape, numbers, form)
    details = graph.types.BlockwiseQuantizationT()
    details.scales, details.zeroPoints, details.blockSize = held.index, -1, block
    about = graph.types.QuantizationParametersT()
    about.detailsType, about.details = graph.types.QuantizationDetails.BlockwiseQuantization, details
    graph.graph.tensors[value.index].quantization = about
    return value


def dequantized(graph: Operators) -> Value:
    """Blocks that DEQUANTIZE reads."""
    options = graph.op("DEQUANTIZE", weight(graph, ROUND), shape=(ROWS, COLUMNS))
    return graph.dense(graph.inputs["x"], options)


def layer_scale(graph: Operators) -> Value:
    """A linear layer, times a vector, plus its input."""
    x = graph.inputs["x"]
    found = graph.dense(x, graph.held("w", np.eye(COLUMNS)))
    return graph.add(graph.mul(found, graph.held("scale", np.ones(COLUMNS))), x)


def dense(**about: Any) -> Callable[[Operators], Value]:
    scales = about.pop("scales", ROUND)
    return lambda graph: graph.dense(graph.inputs["x"], weight(graph, scales, **about))


FAULTS: dict[str, tuple[Callable[[Operators], Value], set[str]]] = {
    "as we draw it": (dense(), set()),
    "DEQUANTIZE of blocks": (dequantized, {"operator", "blocks"}),
    "blocks of 8 bits": (dense(dtype="int8"), {"block-bits"}),
    "blocks of 64": (dense(scales=ROUND[:, :1], block=64), {"block-size"}),
    "bfloat16 scales": (dense(form="bfloat16"), {"scale-format"}),
    "float32 scales": (dense(form="float32"), {"scale-format"}),
    "scales with more bits": (dense(scales=ROUND * np.float32(1.0029)), {"scale-bits"}),
    "negative scales": (dense(scales=-ROUND), {"scale-sign"}),
    "LayerScale": (layer_scale, {"layer-scale"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_rule_finds_each_fault(name: str, tmp_path: Path) -> None:
    draw, rules = FAULTS[name]
    part = graph_of(tmp_path, draw, x=(1, COLUMNS))
    graph, others = read_model(tmp_path / part.file)["main"], {"layer-scale"}
    assert broken(graph) == rules - others
    blocks = {"no-blocks"} if any(tensor.blocks for tensor in graph.tensors) else set()
    assert broken(graph, rules_for("gpu")) == rules | blocks


def test_every_rule_is_broken_by_a_test() -> None:
    found = {name for _, rules in FAULTS.values() for name in rules}
    assert {rule.name for rule in rules_for("gpu")} == found | {"no-blocks"}


@pytest.mark.parametrize(
    ("draw", "makers"),
    [
        (lambda graph: graph.gelu(graph.inputs["x"]), set()),
        (lambda graph: graph.cosine(graph.inputs["x"]), {"mediatek"}),
        (
            lambda graph: graph.op("REDUCE_PROD", graph.inputs["x"], shape=(1, COLUMNS)),
            {"mediatek", "google", "samsung"},
        ),
    ],
)
def test_makers_lists(draw: Callable[[Operators], Value], makers: set[str], tmp_path: Path) -> None:
    graph = read_model(tmp_path / graph_of(tmp_path, draw, x=(1, COLUMNS)).file)["main"]
    assert broken(graph, rules_for("npu")) - {"operator"} == makers
    assert broken(graph, rules_for("npu", "Samsung")) - {"operator"} == makers & {"samsung"}


def test_lists_name_operators_of_the_schema() -> None:
    known = set(vars(schema().BuiltinOperator))
    assert all(one.kinds <= known and one.source.url.startswith("https://github.com/") for one in LISTS)


def off(part: Any, folder: Path) -> float:
    """Largest difference of LiteRT from the reader, over the largest magnitude; infinite where LiteRT has NaN."""
    x = np.random.default_rng(1).normal(size=(1, COLUMNS)).astype(np.float32)
    found = {name: run(part, bind, x=x) for name, bind in runtimes(folder).items()}
    wanted = found["reader"]
    difference = np.abs(found["LiteRT"] - wanted).max() / np.abs(wanted).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def test_what_we_draw_is_computed(tmp_path: Path) -> None:
    """Up to the rounding of activations to 8 bits."""
    assert off(graph_of(tmp_path, FAULTS["as we draw it"][0], x=(1, COLUMNS)), tmp_path) < 0.02


def test_scales_in_bfloat16_are_read_as_others(tmp_path: Path) -> None:
    assert not off(graph_of(tmp_path, FAULTS["bfloat16 scales"][0], x=(1, COLUMNS)), tmp_path) < 0.5


def test_blocks_that_are_dequantized_are_zeros(tmp_path: Path) -> None:
    """And the reader of proofs refuses the operator, which graphs of this target never have."""
    part, x = graph_of(tmp_path, dequantized, x=(1, COLUMNS)), np.ones((1, COLUMNS), np.float32)
    assert not run(part, runtimes(tmp_path)["LiteRT"], x=x).any()
    with pytest.raises(EdgeError, match="DEQUANTIZE"):
        run(part, runtimes(tmp_path)["reader"], x=x)

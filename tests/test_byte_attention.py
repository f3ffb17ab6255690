"""Attention by products of bytes: near to attention in floats, exact without rounding, and right at the extremes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from phantom_edge.export.targets.onnx.byte_attention import ByteAttention
from phantom_edge.export.targets.onnx.exact import leave_out_rounding

ort = pytest.importorskip("onnxruntime")

HEADS, TOKENS, DIM = 3, 40, 16
LEAST_DECIBELS = 20.0
"""Of the worst column, whose mean of random values is small beside them; a wrong scale or zero point leaves less."""
Arrays = dict[str, NDArray[np.float32]]


class Attention(ByteAttention):
    """A graph of attention alone."""

    def __init__(self) -> None:
        super().__init__("attention", torch.float32, lambda _: torch.empty(0))
        query, value = (self.input(name, (HEADS, TOKENS, DIM)) for name in ("query", "value"))
        key = self.input("key", (HEADS, DIM, TOKENS))
        scores = self.byte_scores(query, key)
        mixed = self.byte_mix(self.op("Softmax", scores, axis=-1), value, HEADS, TOKENS)
        self.output(mixed, "mixed", (HEADS, TOKENS, DIM))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("attention") / "attention.onnx"
    Attention().save(place, "attention.data")
    return place


def run(model: onnx.ModelProto, inputs: Arrays) -> NDArray[np.float64]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return np.asarray(ort.InferenceSession(model.SerializeToString(), options).run(None, inputs)[0], np.float64)


def wanted(inputs: Arrays) -> NDArray[np.float64]:
    query, key, value = (inputs[name].astype(np.float64) for name in ("query", "key", "value"))
    scores = query @ key
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True)) @ value


def drawn(seed: int, spread: float = 1.0) -> Arrays:
    """Random rows whose heads and columns differ in size by orders of magnitude."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-spread, spread, (HEADS, 1, 1))
    columns = 10.0 ** random.uniform(-1, 1, (HEADS, 1, DIM))
    query = random.standard_normal((HEADS, TOKENS, DIM)) / sizes / DIM**0.5
    key, value = random.standard_normal((HEADS, DIM, TOKENS)) * sizes, random.standard_normal((HEADS, TOKENS, DIM))
    return {"query": query.astype("f4"), "key": key.astype("f4"), "value": (value * columns).astype("f4")}


def decibels(found: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """The worst column's signal to noise."""
    noise = np.linalg.norm(found - right, axis=1)
    return float(20 * np.log10(np.linalg.norm(right, axis=1) / np.maximum(noise, 1e-30)).min())


@pytest.mark.parametrize("seed", range(5))
def test_it_is_near_to_attention_in_floats(graph: Path, seed: int) -> None:
    inputs = drawn(seed)
    assert decibels(run(onnx.load(graph), inputs), wanted(inputs)) > LEAST_DECIBELS


@pytest.mark.parametrize("seed", range(5))
def test_without_rounding_it_is_attention(graph: Path, seed: int) -> None:
    inputs, model = drawn(seed), onnx.load(graph)
    leave_out_rounding(model)
    assert {node.op_type for node in model.graph.node}.isdisjoint({"QuantizeLinear", "MatMulIntegerToFloat"})
    np.testing.assert_allclose(run(model, inputs), wanted(inputs), rtol=1e-4, atol=1e-5)


def test_an_attention_that_looks_at_one_row_only(graph: Path) -> None:
    """Large scores: each query's weight lies on one value, which comes out as its seven bits have it."""
    inputs = drawn(0)
    inputs["query"] = inputs["query"] * 1000
    found, right = run(onnx.load(graph), inputs), wanted(inputs)
    chosen = np.abs(found - right) <= 0.5 / 63 * np.abs(inputs["value"]).max(1, keepdims=True) * 1.01
    assert chosen.mean() > 0.97  # a query between two keys of nearly equal scores may choose the other one


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_bytes_everywhere(graph: Path, sign: int) -> None:
    """All products of largest bytes, which overflow 16 bits in pairs where both sides have eight."""
    ones = np.ones((HEADS, TOKENS, DIM), np.float32)
    inputs = {"query": ones, "key": sign * np.ones((HEADS, DIM, TOKENS), np.float32), "value": 3 * ones}
    np.testing.assert_allclose(run(onnx.load(graph), inputs), 3 * ones, rtol=1e-3)


def test_nothing_to_attend_to(graph: Path) -> None:
    zeros = {name: np.zeros_like(rows) for name, rows in drawn(0).items()}
    assert not run(onnx.load(graph), zeros).any()

"""Products of bytes are exact, or the slower way is taken; a CPU that is wrong cannot be had here, so it is played."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from phantom_edge.export.targets.onnx import byte_products
from phantom_edge.export.targets.onnx.byte_products import PRECISE, are_exact, make_exact
from phantom_edge.foundation.errors import EdgeError

ort = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("precise", [False, True])
def test_this_machine_is_exact_or_has_a_way_to_be(precise: bool) -> None:
    assert are_exact(ort, precise=True) and (precise or isinstance(are_exact(ort), bool))


class Saturating:
    """A runtime whose pairs of products stop at 16 bits, unless the slower way is asked for."""

    __version__ = "0"
    SessionOptions = ort.SessionOptions

    def __init__(self, *, has_a_way: bool = True) -> None:
        self.has_a_way = has_a_way

    def InferenceSession(self, graph: bytes, options: Any, providers: list[str]) -> Any:
        onnx = pytest.importorskip("onnx")
        held = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer}
        try:
            is_precise = self.has_a_way and options.get_session_config_entry(PRECISE) == "1"
        except RuntimeError:
            is_precise = False

        def run(_names: None, fed: dict[str, np.ndarray]) -> list[np.ndarray]:
            products = fed["x"].astype(np.int64)[:, :, None] * held["weights"].astype(np.int64)
            pairs = products.reshape(len(products), -1, 2, products.shape[2]).sum(2)
            return [(pairs if is_precise else pairs.clip(-(2**15), 2**15 - 1)).sum(1).astype(np.float32)]

        return SimpleNamespace(run=run, get_inputs=lambda: [SimpleNamespace(shape=["N", len(held["weights"])])])


def test_saturation_is_seen_and_the_slower_way_is_taken() -> None:
    options = ort.SessionOptions()
    assert not are_exact(Saturating()) and are_exact(Saturating(), precise=True)
    make_exact(Saturating(), options)
    assert options.get_session_config_entry(PRECISE) == "1"
    with pytest.raises(EdgeError, match="multiplies bytes wrongly"):
        make_exact(Saturating(has_a_way=False), ort.SessionOptions())


def test_the_graph_is_the_one_of_the_script() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(Path(byte_products.__file__).with_suffix(".onnx")).graph
    (weights,) = (onnx.numpy_helper.to_array(one) for one in graph.initializer if one.name == "weights")
    assert weights.dtype == np.int8 and set(np.unique(weights)) == {-127, 127}
    assert [node.op_type for node in graph.node] == ["MatMulIntegerToFloat"]

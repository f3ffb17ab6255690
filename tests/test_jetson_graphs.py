"""Target jetson: the graphs compute the model, in ONNX Runtime, and in float32, where rounding hides no fault."""

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_tensorrt import session
from golden_checkpoints import ARCHITECTURES, Golden
from numpy.typing import NDArray

from phantom_edge.export.passes.fold import fold_layers
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rank import Bases, bases_of, whole
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.jetson.graph import TrtDecoderDrawing, TrtVisionDrawing
from phantom_edge.export.targets.jetson.lint import broken

pytest.importorskip("onnxruntime")

BOUND = 1e-4
CONTEXT = 64
GOLDEN = [*(f"{name}-1.0" for name in ARCHITECTURES), "0_5b-tied-1.0", "3_8b-sw16-1.0"]


def run(decoder: Any, width: int, embeds: NDArray[np.float32], chunks: Sequence[int]) -> NDArray[np.float32]:
    """Logits at every position; what lies in the blank row must not matter."""
    rows, found, start = np.full((1, width), 7.0, np.float32), [], 0
    for size in chunks:
        places = np.arange(start, start + size)
        fed = {"inputs_embeds": embeds[places], "position_ids": places[None], "logits_to_keep": np.arange(size)}
        logits, new = decoder.run(["logits", "new_rows"], fed | {"past_rows": rows})
        rows, start = np.concatenate([rows, new]), start + size
        found.append(logits)
    return np.concatenate(found)


@pytest.mark.parametrize("name", GOLDEN)
def test_graphs_compute_the_model(name: str, golden: Any, tmp_path: Path) -> None:
    """In float32, where faults are not hidden by rounding; at eta 1. Whole, in odd chunks, and token by token."""
    g: Golden = golden(name)
    text, language, weights = g.model.config.text, g.model.model.language_model, g.model.state_dict()
    forms = [
        LayerForm(maps, Bases(whole(maps.key), whole(maps.value)))
        for _, maps in fold_layers(text, language.layers, language.embed_tokens.weight[g.io["input_ids"][0, 0]])
    ]
    torch.manual_seed(1)
    ids = torch.randint(6, text.vocab_size, (1, CONTEXT))
    ids[0, 0] = g.io["input_ids"][0, 0]
    want = g.model(input_ids=ids).logits[0].numpy()
    embeds = g.model.get_input_embeddings()(ids)[0].numpy()
    drawing = TrtDecoderDrawing(
        text, forms, constant_tables(text, CONTEXT), weights.__getitem__, torch.float32, opset_only=True
    )
    drawing.limit()
    drawing.save(tmp_path / "decoder.onnx", "decoder.data")
    assert drawing.opsets == {"": 20} and drawing.width * 4 % 256 == 0
    decoder = session(tmp_path / "decoder.onnx")
    for chunks in ([CONTEXT], [16, 5, 42, 1], [1] * CONTEXT):
        assert np.abs(run(decoder, drawing.width, embeds, chunks) - want).max() <= BOUND, chunks
    assert not {"RMSNormalization", "RotaryEmbedding", "Gelu"} & drawing.operators().keys()
    assert broken(tmp_path / "decoder.onnx") == set()


WHOLE = TrtDecoderDrawing._parted


def blank_row_is_seen(drawing: Any, past_shape: Any, window: int | None) -> None:
    """No mask over the cached rows."""


def new_rows_count_half(drawing: Any, weights: Any) -> Any:
    of_past, of_new = WHOLE(drawing, weights)
    return of_past, drawing.op("Mul", of_new, drawing.held_once("half", torch.tensor(0.5)))


@pytest.mark.parametrize("fault", [("_mask_of_past", blank_row_is_seen), ("_parted", new_rows_count_half)])
def test_planted_faults_are_seen(fault: Any, golden: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, wrong = fault
    broken_drawing = type("Broken", (TrtDecoderDrawing,), {name: wrong})
    monkeypatch.setitem(globals(), "TrtDecoderDrawing", broken_drawing)
    with pytest.raises(AssertionError):
        test_graphs_compute_the_model("0_5b-1.0", golden, tmp_path)


@pytest.mark.parametrize("name", GOLDEN[:4])
def test_vision_computes_the_model(name: str, golden: Any, tmp_path: Path) -> None:
    g: Golden = golden(name)
    weights = g.model.state_dict()
    eyes = TrtVisionDrawing(g.model.config, weights.__getitem__, torch.float32, opset_only=True)
    eyes.limit()
    eyes.save(tmp_path / "vision.onnx", "vision.data")
    seen = session(tmp_path / "vision.onnx").run(None, {"pixel_values": g.io["pixel_values"][:1].numpy()})[0]
    wanted = g.model.get_image_features(g.io["pixel_values"][:1]).pooler_output.flatten(0, 1).numpy()
    assert np.abs(seen - wanted).max() <= BOUND
    assert "Gelu" not in eyes.operators() and broken(tmp_path / "vision.onnx") == set()


def test_rows_are_filled_up(golden: Any) -> None:
    """Where the widths of all halves are no multiple of 256 bytes."""
    g: Golden = golden("0_5b-1.0")
    text, language = g.model.config.text, g.model.model.language_model
    _, maps = next(iter(fold_layers(text, language.layers, language.embed_tokens.weight[1])))
    form = LayerForm(maps, Bases(bases_of(maps.key, [3])[0], bases_of(maps.value, [2])[0]))
    drawing = TrtDecoderDrawing(
        text,
        [form] * text.num_hidden_layers,
        constant_tables(text, CONTEXT),
        g.model.state_dict().__getitem__,
        torch.float16,
        opset_only=True,
    )
    assert drawing.padding > 0 and drawing.width * 2 % 256 == 0


def test_as_many_layers_as_real_models_have(golden: Any, tmp_path: Path) -> None:
    """The places where rows are split are more than ONNX writes into the graph's file by itself."""
    g: Golden = golden("0_5b-1.0")
    text, language, weights = deepcopy(g.model.config.text), g.model.model.language_model, g.model.state_dict()
    _, maps = next(iter(fold_layers(text, language.layers, language.embed_tokens.weight[1])))
    form, text.num_hidden_layers = LayerForm(maps, Bases(whole(maps.key), whole(maps.value))), 24

    def read(name: str) -> torch.Tensor:
        return weights[re.sub(r"layers\.\d+", "layers.0", name)]

    tables = constant_tables(text, CONTEXT)
    drawing = TrtDecoderDrawing(text, [form] * 24, tables, read, torch.float16, opset_only=True)
    drawing.limit()
    drawing.save(tmp_path / "decoder.onnx", "decoder.data")
    split = max(len(node.outputs) for node in drawing.tape.nodes)
    assert split * 8 > 256
    embeds = np.zeros((2, text.hidden_size), np.float16)
    fed = {"inputs_embeds": embeds, "position_ids": np.arange(2)[None], "logits_to_keep": np.arange(1)}
    (logits,) = session(tmp_path / "decoder.onnx").run(
        ["logits"], fed | {"past_rows": np.zeros((1, drawing.width), np.float16)}
    )
    assert np.isfinite(logits).all()

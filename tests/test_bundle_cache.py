"""A bundle whose cache holds rows of int8: off by half a step at most, and refused where the graph has another."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from bundles import export_onnx, manifest_edit

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import RELATIVE
from phantom_edge.convert.random import write_random
from phantom_edge.export.sessions import open_session, session_of
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.linear import LinearDrawing
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES

QUESTION = "What is in the picture, and where?"


def test_a_cache_of_int8_rows(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """A row is off by half a step of its own scale at most, which is its largest magnitude over 127."""
    rounded = export_onnx(checkpoint, tmp_path / "rounded", cache="int8", max_context=512)
    engines = {one.path.name: session_of(one).engine for one in (bundle, rounded)}
    ids = session_of(bundle).text.ids([{"role": "user", "content": QUESTION}], [], 1)
    logits = [one.forward(one.embed(ids), 0, np.arange(len(ids))) for one in engines.values()]
    assert np.abs(logits[0] - logits[1]).max() < 1e-4  # of the first chunk's own rows none is rounded
    floats, integers = engines["bundle"].cache, engines["rounded"].cache
    heads = bundle.manifest.cache.kv_heads
    for layer in range(bundle.manifest.cache.layers):
        scales = integers[f"scale.{layer}"][: len(ids)]
        for column, name in enumerate(f"{what}.{layer}.{head}" for what in ("key", "value") for head in range(heads)):
            exact, scale = floats[name][: len(ids)], scales[:, column : column + 1]
            assert integers[name].dtype == np.int8 and not integers[name][len(ids) :].any()
            assert np.allclose(scale, np.maximum(np.abs(exact).max(-1, keepdims=True) / 127, 1e-6), rtol=1e-4)
            assert (np.abs(integers[name][: len(ids)] * scale - exact) <= 0.501 * scale + 1e-5).all()
    before, after = (one.manifest.cache.bytes_per_token for one in (bundle, rounded))
    assert after < before / 2  # a scale is 4 bytes, and rows of this model are short


@pytest.mark.slow
def test_a_cache_of_int8_rows_is_proved(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its rounding taken out it is the model; with it, it is near, and with the scales of values for keys not."""
    bundle = export_onnx(checkpoint, tmp_path / "bundle", prove=True, cache="int8", max_context=512)
    proof = bundle.proof
    assert proof is not None and proof.passed
    stages = {check.stage for check in proof.checks}
    assert stages == {"vision", "prefill", "decode", "exact prefill", "exact decode"}
    exact, rounded = (
        [check.value for check in proof.checks if (check.stage == stage and check.measure == RELATIVE)]
        for stage in ("exact decode", "decode")
    )
    assert max(exact) < 1e-4 and max(rounded) > max(exact)
    scales = DecoderDrawing._row_scales
    monkeypatch.setattr(DecoderDrawing, "_row_scales", lambda self, number: scales(self, number)[::-1])
    with pytest.raises(EdgeError, match="does not compute its model") as refused:
        export_onnx(checkpoint, tmp_path / "wrong", prove=True, cache="int8", max_context=512)
    assert "--cache float" in refused.value.remedy


def test_small_rows_of_half_precision_keep_their_signs(tmp_path: Path) -> None:
    """Below float16's normal numbers a scale is coarse, and 127 steps of it are less than the row."""
    drawing = DecoderDrawing.__new__(DecoderDrawing)
    LinearDrawing.__init__(drawing, "rows", torch.float16, dict.__getitem__)
    drawing.rows = ir.DataType.INT8
    rows, scales = drawing._rounded_rows(drawing.input("x", ("N", 1, 16)))
    drawing.output(rows, "rows", ("N", 1, 16), ir.DataType.INT8)
    drawing.output(scales, "scales", ("N", 1, 1))
    drawing.save(tmp_path / "rows.onnx", "rows.data")
    size = np.float32(10.0) ** -np.arange(8).reshape(-1, 1, 1)
    x = (np.random.default_rng(0).standard_normal((8, 1, 16)) * size).astype(np.float16)
    found, scale = onnxruntime.InferenceSession(str(tmp_path / "rows.onnx")).run(None, {"x": x})
    off = np.abs(found.astype(np.float64) * scale - x.astype(np.float64))
    assert (off <= 0.5 * scale + 2.0**-10 * np.abs(x).max(-1, keepdims=True)).all()


def test_rows_of_zeros_are_kept(tmp_path: Path) -> None:
    """Nothing divides by nothing."""
    write_random(SIZES["tiny"], tmp_path / "model", seed=0, dtype=torch.float32)
    bundle = export_onnx(tmp_path / "model", tmp_path / "bundle", cache="int8", max_context=64)
    engine = session_of(bundle).engine
    logits = [
        engine.forward(np.zeros((4, bundle.manifest.model.hidden_size), np.float32), start, np.arange(4))
        for start in (0, 4)
    ]
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["scale.0 narrow", "rows of floats"])
def test_another_cache_than_the_graph_has(name: str, checkpoint: Path, tmp_path: Path) -> None:
    bundle = export_onnx(checkpoint, tmp_path / "bundle", cache="int8", max_context=64)

    def change(manifest: dict[str, Any]) -> None:
        ports = manifest["parts"]["decoder"]["inputs"]
        if name == "rows of floats":
            manifest["cache"]["rounded"] = False
        else:
            next(port for port in ports if port["name"] == "past_scale.0")["shape"] = ["P", 1]

    manifest_edit(change)(bundle.path)
    with pytest.raises(EdgeError, match="ports is impossible"):
        open_session(bundle.path)

"""Fixed scales of inputs: balanced layers compute the same, nothing seen is cut off, and all places round alike."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from export_settings import settings_for
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from random_checkpoints import write_checkpoint, write_questions
from stored_weights import coreml_weights, onnx_weights

from phantom_edge.checkpoint.quantized.files import QUANTIZATION, QuantizedFiles
from phantom_edge.checkpoint.quantized.inputs import Inputs, ranged
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import session_of
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import load
from phantom_edge.processing.tiling import to_pixel_values
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.quantize.rounding import nearest
from phantom_edge.quantize.static import balance

RECIPE = Recipe({"vision": "w8a8", "projector": "w8a8", "decoder": "int4-g32"})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, questions about two pictures, and the quantized checkpoint that they make."""
    desk = tmp_path_factory.mktemp("static")
    write_checkpoint(desk / "checkpoint")
    write_questions(desk, answers={"Is it red?": "yes"})
    quantize(desk, RECIPE, desk / "quantized")
    return desk


def quantize(desk: Path, recipe: Recipe, out: Path, data: str | None = "triples.jsonl") -> None:
    calibration = None if data is None else Calibration(desk / data, 4)
    quantize_checkpoint(desk / "checkpoint", recipe, out, name="one", calibration=calibration)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_was_seen_is_within_reach(one: float, other: float, seed: int) -> None:
    """Off by half a step, and at the ends by what float16 does to the scale; zero stays zero."""
    low, high = sorted((one, other))
    rows = low + (high - low) * torch.rand(4, 8, generator=torch.Generator().manual_seed(seed))
    about = ranged(rows)
    assert about.scale == float(torch.tensor(about.scale).half())
    reach = about.scale / 2 + rows.abs().max().item() * 2**-10
    assert (about.rounded(rows) - rows).abs().max() <= reach
    assert about.rounded(torch.zeros(1)) == 0 and about.low <= 0 <= about.high


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_balanced_layers_compute_the_same_and_round_better(seed: int) -> None:
    """A channel that is a hundred times the rest costs less than half of what it did."""
    random = torch.Generator().manual_seed(seed)
    rows, weight = torch.randn(200, 64, generator=random), torch.randn(24, 64, generator=random) / 8
    rows[:, 5] *= 100
    scheme, exact = SCHEMES["w8a8"], rows @ weight.T
    scale = balance(rows, weight, scheme)
    assert torch.allclose((rows / scale) @ (weight * scale).T, exact, rtol=1e-4, atol=1e-3)

    def off(scale: torch.Tensor) -> float:
        given = rows / scale
        return float(
            (ranged(given).rounded(given) @ nearest(weight * scale, scheme).dequantize().T - exact).square().mean()
        )

    assert off(scale) < off(torch.ones(64)) / 2


@pytest.mark.parametrize("opset_only", [False, True])
def test_a_bundle_holds_them_and_rounds_as_torch_does(opset_only: bool, desk: Path) -> None:
    """Proved with the rounding taken out; with it torch and the runtime differ by ties that turned, and not by more."""
    bundle = export_bundle(
        str(desk / "quantized"),
        "onnx",
        desk / f"bundle-{opset_only}",
        settings_for("onnx", max_context=512, opset_only=opset_only),
    ).bundle
    proof = bundle.proof
    assert proof is not None and proof.passed and "exact vision" in {check.stage for check in proof.checks}
    files = QuantizedFiles.open(desk / "quantized")
    held = onnx_weights(bundle.file("vision.onnx"))
    assert held.keys() == files.about.inputs.keys() and len(held) == 2 * 4 + 2
    for name, weight in held.items():
        assert np.array_equal(weight, files.quantized(name).dequantize().numpy()), name
    model, _ = load(str(desk / "quantized"))
    pixels = to_pixel_values(Image.open(desk / "1.png"), session_of(bundle).tiling)
    want = model.get_image_features(torch.from_numpy(pixels)).pooler_output.flatten(0, 1).numpy()
    off = np.abs(session_of(bundle).engine.encode_images(pixels) - want)
    assert off.mean() < 2e-3 * np.abs(want).max() and off.max() < 2e-2 * np.abs(want).max()


def test_a_package_holds_them(desk: Path) -> None:
    """Inputs are rounded by the same scales, with calibration done here, where Core ML is not."""
    pytest.importorskip("coremltools")
    settings = Settings("fp16", max_context=512)
    bundle = export_bundle(str(desk / "quantized"), "coreml", desk / "package", settings).bundle
    proof, files = bundle.proof, QuantizedFiles.open(desk / "quantized")
    assert proof is not None and proof.passed and bundle.manifest.parts["vision"].operators["quantize"] == 2 * 4 + 2
    held = coreml_weights(bundle.path / "vision.mlpackage")
    assert held.keys() == {name.replace(".", "_") for name in files.about.inputs}
    for name in files.about.inputs:
        assert np.array_equal(held[name.replace(".", "_")][1], files.quantized(name).dequantize().numpy()), name


def test_a_half_precision_bundle_has_them(desk: Path) -> None:
    settings = Settings("fp16", max_context=512)
    bundle = export_bundle(str(desk / "quantized"), "onnx", desk / "half", settings).bundle
    assert bundle.verified


def test_it_goes_on_where_it_was_stopped(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are looked at once."""
    from phantom_edge.quantize import quantize as module

    with monkeypatch.context() as patch:
        patch.setattr(module, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quantize(desk, RECIPE, tmp_path / "out")
    monkeypatch.setattr(module, "quantize_static", lambda *_: pytest.fail("looked again"))
    quantize(desk, RECIPE, tmp_path / "out")
    ours, theirs = (QuantizedFiles.open(folder) for folder in (tmp_path / "out", desk / "quantized"))
    assert ours.about.inputs == theirs.about.inputs
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in ours.entries)


def test_refusals(desk: Path, tmp_path: Path) -> None:
    for recipe, data, message in (
        (RECIPE, None, "w8a8 needs data to calibrate on"),
        (RECIPE, "words.jsonl", "has no pictures"),
        (Recipe({"decoder": "w8a8"}), "triples.jsonl", "w8a8 is for vision and projector"),
    ):
        with pytest.raises(EdgeError, match=message) as refused:
            quantize(desk, recipe, tmp_path / "out", data)
        assert refused.value.remedy and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing", "zero scale", "tiny scale", "far zero"])
def test_damaged_scales_are_refused(name: str, desk: Path, tmp_path: Path) -> None:
    for file in (desk / "quantized").iterdir():
        (tmp_path / file.name).symlink_to(file)
    document: dict[str, Any] = json.loads((tmp_path / QUANTIZATION).read_text())
    first = next(iter(document["inputs"]))
    if name == "missing":
        document["inputs"].pop(first)
    else:
        changes = {"zero scale": {"scale": 0.0}, "tiny scale": {"scale": 1e-300}, "far zero": {"zero_point": 256}}
        document["inputs"][first].update(changes[name])
    (tmp_path / QUANTIZATION).unlink()
    (tmp_path / QUANTIZATION).write_text(json.dumps(document))
    with pytest.raises(EdgeError, match="inputs"):
        Source.open(tmp_path)


def test_inputs_reach_from_low_to_high() -> None:
    about = Inputs(0.5, 100)
    assert (about.low, about.high) == (-50, 77.5)
    assert about.rounded(torch.tensor([-60.0, 0.26, 80.0])).tolist() == [-50, 0.5, 77.5]


def test_no_other_part_has_them(desk: Path, tmp_path: Path) -> None:
    """Not by hand either."""
    for file in (desk / "quantized").iterdir():
        (tmp_path / file.name).symlink_to(file)
    document: dict[str, Any] = json.loads((tmp_path / QUANTIZATION).read_text())
    name = next(name for name in document["weights"] if "language_model" in name)
    document["weights"][name] = document["weights"][next(iter(document["inputs"]))]
    document["inputs"][name] = {"scale": 0.5, "zero_point": 3}
    (tmp_path / QUANTIZATION).unlink()
    (tmp_path / QUANTIZATION).write_text(json.dumps(document))
    with pytest.raises(EdgeError, match="can have no fixed scale"):
        Source.open(tmp_path)

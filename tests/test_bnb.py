"""Checkpoints that bitsandbytes quantized: read as it reads them, kept where its grid is ours, told where it is not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from noise import noise
from random_checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file

from phantom_edge.checkpoint.bnb import BnbFiles
from phantom_edge.checkpoint.loading import open_checkpoint
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.reading import TensorFiles
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import load
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.train.adapters import load_base

bnb = pytest.importorskip("bitsandbytes")

INT8 = Recipe(dict.fromkeys(("decoder", "vision"), "int8"))


@pytest.fixture(scope="module", params=["int8", "nf4"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The base that adapters are trained over, saved by transformers; and how it is quantized."""
    desk = tmp_path_factory.mktemp("bnb")
    write_checkpoint(desk / "model")
    base = load_base(desk / "model", request.param, bf16=False)
    base.save_pretrained(desk / "saved")
    for file in (desk / "model").iterdir():
        if not (desk / "saved" / file.name).exists() and file.suffix != ".safetensors":
            shutil.copy(file, desk / "saved")
    return desk / "saved", request.param


def test_weights_are_those_of_bitsandbytes(saved: tuple[Path, str]) -> None:
    """Dequantized by bitsandbytes itself, from the file's tensors, and by us: equal but for the last bit."""
    folder, kind = saved
    _, files, _ = open_checkpoint(folder)
    assert isinstance(files, BnbFiles)
    names = files.rows if kind == "int8" else files.blocks
    assert len(names) > 20 and not (files.blocks if kind == "int8" else files.rows)
    held = load_file(folder / "model.safetensors")
    for name in names:
        if kind == "int8":
            scales = held[f"{name.removesuffix('weight')}SCB"]
            want = bnb.functional.int8_vectorwise_dequant(held[name], scales)
        else:
            parts = {key.removeprefix(f"{name}."): value for key, value in held.items() if key.startswith(f"{name}.")}
            state = bnb.functional.QuantState.from_dict(parts, device=torch.device("cpu"))
            want = bnb.functional.dequantize_4bit(held[name], state)
        assert torch.allclose(files.read(name), want.float(), rtol=1e-6, atol=0), name


def test_it_answers_as_a_checkpoint(saved: tuple[Path, str]) -> None:
    model, _ = load(str(saved[0]))
    assert torch.isfinite(model(input_ids=torch.arange(5)[None]).logits).all()


def test_integers_are_kept_where_the_grid_is_the_same(saved: tuple[Path, str], tmp_path: Path) -> None:
    folder, kind = saved
    files = BnbFiles.of(TensorFiles.open(folder))
    assert files is not None
    result = quantize_checkpoint(folder, INT8, tmp_path / "q", name="int8")
    ours = QuantizedFiles.open(tmp_path / "q")
    if kind == "nf4":
        assert not result.kept and set(result.twice) == set(files.blocks)
        return
    assert not result.twice and set(result.kept) == set(files.rows)
    for name in files.rows:
        assert torch.equal(ours.read(name), files.read(name)), name
    bundle = export_bundle(str(tmp_path / "q"), "onnx", tmp_path / "bundle", Settings(max_context=512)).bundle
    assert bundle.verified
    other = quantize_checkpoint(folder, Recipe({"decoder": "int4-g32"}), tmp_path / "q4", name="int4")
    assert not other.kept and other.twice
    noise((112, 112), 80).save(tmp_path / "0.png")
    (tmp_path / "t.jsonl").write_text(json.dumps({"image": "0.png", "question": "Is it red?", "chosen": "yes"}))
    both = Recipe({"decoder": "int8", "vision": "w8a8"})
    third = quantize_checkpoint(
        folder, both, tmp_path / "q8", name="b", calibration=Calibration(tmp_path / "t.jsonl", 1)
    )
    assert third.kept and all("language_model" in name for name in third.kept)
    assert third.twice and all("vision_tower" in name for name in third.twice)


Change = dict[str, Any]


def state_of(**changes: Any) -> torch.Tensor:
    about = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4, 64], **changes}
    return torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)


STATE = "w.quant_state.bitsandbytes__nf4"
FOUR: Change = {
    "w": torch.zeros(128, 1, dtype=torch.uint8),
    "w.absmax": torch.ones(4),
    "w.quant_map": torch.linspace(-1, 1, 16),
    STATE: state_of(),
}
EIGHT: Change = {
    "w.weight": torch.ones(4, 8, dtype=torch.int8),
    "w.SCB": torch.ones(4),
    "w.weight_format": torch.tensor(0),
}
DAMAGED: dict[str, tuple[Change, Change]] = {
    "too few scales of rows": (EIGHT, {"w.SCB": torch.ones(3)}),
    "no integers": (EIGHT, {"w.weight": torch.ones(4, 8)}),
    "tiles for one kind of GPU": (EIGHT, {"w.weight_format": torch.tensor(2)}),
    "too few scales": (FOUR, {"w.absmax": torch.ones(3)}),
    "scales of bytes": (FOUR, {"w.absmax": torch.ones(4, dtype=torch.uint8)}),
    "too few levels": (FOUR, {"w.quant_map": torch.ones(15)}),
    "too few numbers": (FOUR, {"w": torch.zeros(127, 1, dtype=torch.uint8)}),
    "no JSON": (FOUR, {STATE: torch.ones(9, dtype=torch.uint8)}),
    "deep JSON": (FOUR, {STATE: torch.full((99999,), ord("["), dtype=torch.uint8)}),
    "no block": (FOUR, {STATE: state_of(blocksize=0)}),
    "an endless block": (FOUR, {STATE: state_of(blocksize=float("inf"))}),
    "no whole shape": (FOUR, {STATE: state_of(shape=[4.0, 64.0])}),
    "a shape of truths": (FOUR, {STATE: state_of(shape=[True, 256])}),
    "no shape": (FOUR, {STATE: state_of(shape=7)}),
    "scales of scales that are not there": (FOUR, {STATE: state_of(nested_blocksize=256)}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told(name: str, tmp_path: Path) -> None:
    whole, change = DAMAGED[name]
    save_file(whole, tmp_path / "model.safetensors")
    assert BnbFiles.of(TensorFiles.open(tmp_path)) is not None
    save_file(whole | change, tmp_path / "model.safetensors")
    with pytest.raises(EdgeError, match=r"does not fit its scales|cannot be read|lies in tiles") as refused:
        BnbFiles.of(TensorFiles.open(tmp_path))
    assert "\n" not in refused.value.problem


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32])
def test_four_bits_stored_as_another_dtype(storage: torch.dtype, tmp_path: Path) -> None:
    """What sharded training does with them: the same bytes under another name."""
    bytes_ = torch.randint(0, 256, (128,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    held = []
    for number, weight in enumerate((bytes_.view(-1, 1), bytes_.view(storage).view(-1, 1))):
        (tmp_path / str(number)).mkdir()
        save_file(FOUR | {"w": weight}, tmp_path / str(number) / "model.safetensors")
        files = BnbFiles.of(TensorFiles.open(tmp_path / str(number)))
        assert files is not None
        held.append(files.read("w"))
    assert torch.equal(*held) and held[0].shape == (4, 64) and len(held[0].unique()) == 16


def test_scales_that_are_not_finite_are_refused(tmp_path: Path, saved: tuple[Path, str]) -> None:
    folder, kind = saved
    if kind != "int8":
        pytest.skip("of rows alone")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("SCB") and "language_model" in name)
    tensors[name][0] = float("inf")
    shutil.copytree(folder, tmp_path / "bad")
    save_file(tensors, tmp_path / "bad" / "model.safetensors")
    with pytest.raises(EdgeError, match="holds inf"):
        quantize_checkpoint(tmp_path / "bad", INT8, tmp_path / "q", name="int8")
    assert not (tmp_path / "q").exists()


def test_scales_that_are_quantized_themselves(tmp_path: Path) -> None:
    """Double quantization, by bitsandbytes itself."""
    weight = torch.randn(96, 100, generator=torch.Generator().manual_seed(0))
    packed, state = bnb.functional.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    parts = {f"w.{key}": value for key, value in state.as_dict(packed=True).items()}
    save_file({"w": packed, **parts}, tmp_path / "model.safetensors")
    files = BnbFiles.of(TensorFiles.open(tmp_path))
    assert files is not None and files.blocks["w"].nested_block == 256
    assert torch.allclose(files.read("w"), bnb.functional.dequantize_4bit(packed, state), rtol=1e-6, atol=1e-9)
    assert json.dumps(list(files.entries)) == '["w"]'

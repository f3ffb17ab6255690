"""Checkpoints that bitsandbytes quantized: read as it reads them, kept where its grid is ours, told where it is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from phantom_edge.checkpoint.bnb import BnbFiles
from phantom_edge.checkpoint.loading import open_checkpoint
from phantom_edge.checkpoint.random import write_random
from phantom_edge.checkpoint.reading import TensorFiles
from phantom_edge.errors import EdgeError
from phantom_edge.export.export import export_bundle
from phantom_edge.export.settings import Settings
from phantom_edge.generate import load
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.folder import QuantizedFiles
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.train.adapters import load_base

bnb = pytest.importorskip("bitsandbytes")

INT8 = Recipe(dict.fromkeys(("decoder", "vision"), "int8"))


@pytest.fixture(scope="module", params=["int8", "nf4"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The base that adapters are trained over, saved by transformers; and how it is quantized."""
    desk = tmp_path_factory.mktemp("bnb")
    write_random(SIZES["tiny"], desk / "model", seed=3, dtype=torch.float32, eta=1.0)
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
    assert bundle.manifest.verified
    other = quantize_checkpoint(folder, Recipe({"decoder": "int4-g32"}), tmp_path / "q4", name="int4")
    assert not other.kept and other.twice


def damaged(folder: Path, out: Path, change: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith(change))
    tensors[name] = tensors[name].flatten()[:-1].clone()
    out.mkdir()
    shutil.copy(folder / "config.json", out)
    save_file(tensors, out / "model.safetensors")


def test_damage_is_told(saved: tuple[Path, str], tmp_path: Path) -> None:
    folder, kind = saved
    for number, change in enumerate(("SCB",) if kind == "int8" else ("absmax", "quant_map", "bitsandbytes__nf4")):
        damaged(folder, tmp_path / str(number), change)
        with pytest.raises(EdgeError, match=r"does not fit its scales|cannot be read"):
            open_checkpoint(tmp_path / str(number))


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

"""Weights whose four bits and bytes are the same numbers, and graphs that choose between them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundles import export_onnx, seal_again
from command_line import edge_inside
from hypothesis import given, settings
from hypothesis import strategies as st
from random_checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.work import SECOND_FORM, work_of
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import MOST_MULTIPLE, SCHEMES
from phantom_edge.checkpoint.quantized.weights import as_bytes, steps_of
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.exact import ExactEngine
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.quantize.rounding import fitted_scales, nearest
from phantom_edge.quantize.solvers import fitted, gptq

pytest.importorskip("onnxruntime")

EXACT8, PLAIN = SCHEMES["int4-g32-exact8"], SCHEMES["int4-g32"]
RECIPE = Recipe({"decoder": EXACT8.name, "embedding": "int8", "head": "int8"})


def weight(rows: int, groups: int, seed: int, spread: float) -> Tensor:
    """Groups of sizes that differ by ``spread`` powers of two; some numbers are 0."""
    random = torch.Generator().manual_seed(seed)
    sizes = torch.rand(rows, groups, 1, generator=random).mul(spread).sub(6).exp2()
    found = (torch.randn(rows, groups, 32, generator=random) * sizes).view(rows, -1)
    found[:, ::7] = 0
    return found


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 99), st.floats(0, 8))
@settings(max_examples=60, deadline=None)
def test_bytes_hold_the_same_numbers(rows: int, groups: int, seed: int, spread: float) -> None:
    """Bit for bit, whatever found the integers; multiples are 1 to 15 of a step that float16 holds."""
    numbers = weight(rows, groups, seed, spread)
    gram = numbers.T @ numbers
    for found in (nearest(numbers, EXACT8), fitted(numbers, EXACT8, gram), gptq(numbers, EXACT8, gram)):
        bytes_, steps = as_bytes(found), steps_of(found.scales)
        assert steps is not None and torch.equal(bytes_.scales.double(), steps)
        multiples = found.scales.double().abs() / steps
        assert torch.equal(multiples.round(), multiples) and multiples.min() >= 1 and multiples.max() <= MOST_MULTIPLE
        assert bytes_.integers.min() >= 128 - 120 and bytes_.integers.max() <= 128 + 120
        assert torch.equal(bytes_.dequantize(), found.dequantize())


def test_the_constraint_costs_next_to_nothing() -> None:
    """Groups of like sizes, as in trained rows: the error of scales that are free, and at most 2 % more."""
    numbers = weight(64, 28, 0, 1.0)
    free, _ = fitted_scales(numbers, PLAIN, None)
    bound, _ = fitted_scales(numbers, EXACT8, None)
    off = [
        float((fitted(numbers, scheme, None).dequantize() - numbers).square().mean()) ** 0.5
        for scheme in (PLAIN, EXACT8)
    ]
    assert not torch.equal(free, bound) and off[1] < 1.02 * off[0]


def test_scales_without_a_step() -> None:
    assert steps_of(torch.tensor([[1.0, 1.01]]).half()) is None
    assert steps_of(torch.tensor([[16.0, 1.0]]).half()) is None, "16 of them"
    steps = steps_of(torch.tensor([[15.0, -1.0], [6.0, 4.0], [-5.0, 5.0]]).half())
    assert steps is not None and steps.flatten().tolist() == [1.0, 2.0, 5.0]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quantized checkpoint at full phantom strength."""
    desk = tmp_path_factory.mktemp("two-forms")
    quantize_checkpoint(write_checkpoint(desk / "model"), RECIPE, desk / "int4", name="int4-exact8")
    return desk / "int4"


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Bundle:
    return export_onnx(checkpoint, checkpoint.parent / "bundle", max_context=128)


def test_a_damaged_scale_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in checkpoint.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    path = next(folder.glob("*.safetensors"))
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("down_proj.weight.scales"))
    tensors[name][0, 0] *= 1.01
    save_file(tensors, path)
    with pytest.raises(EdgeError, match="holds numbers that its scheme does not have"):
        QuantizedFiles.open(folder).read(name.removesuffix(".scales"))


def test_a_prompt_and_its_tokens_one_by_one(bundle: Bundle) -> None:
    """The same logits by bytes and by four bits: exactly without rounding of activations, nearly with it."""
    random = np.random.default_rng(0)
    ids = random.integers(0, bundle.manifest.model.vocab_size, 24)
    for kind, near in ((ExactEngine, 1e-4), (OrtEngine, 0.05)):
        engine = kind(bundle, 1)
        embeds = engine.embed(ids)
        at_once = engine.forward(embeds, 0, np.arange(len(ids)))
        single = [engine.forward(embeds[at : at + 1], at, np.array([0])) for at in range(len(ids))]
        assert np.abs(np.concatenate(single) - at_once).max() <= near * np.abs(at_once).max()


def test_two_forms_are_counted_once(bundle: Bundle) -> None:
    """A token reads the weights once, and each is multiplied once, though the file holds them twice."""
    part = bundle.manifest.parts["decoder"]
    assert part.operators["If"] == 4 * bundle.manifest.model.layers and part.weight_bytes[SECOND_FORM]
    work, second = work_of(bundle.manifest), part.weight_bytes[SECOND_FORM]
    assert work.decoder_bytes == sum(part.weight_bytes.values()) - second
    layers = onnx.load(bundle.file("decoder.onnx"), load_external_data=False).graph.initializer
    products = sum(int(np.prod(one.dims)) for one in layers if one.name.endswith(".bytes.integers"))
    assert 0 < products < work.decoder_products < 2 * products + work.decoder_products // 2


@pytest.mark.parametrize("form", ["bytes.integers", "integers"])
def test_a_fault_in_either_form_fails_the_proof(form: str, checkpoint: Path, tmp_path: Path) -> None:
    """One matrix, changed in the file, in the form that prompts or tokens read."""
    bundle = export_onnx(checkpoint, tmp_path / "bundle", max_context=128)
    tensors = onnx.load(bundle.file("decoder.onnx"), load_external_data=False).graph.initializer
    name = f"layers.1.mlp.down_proj.weight.{form}"
    place = next({e.key: e.value for e in one.external_data} for one in tensors if one.name.endswith(name))
    data = bytearray(bundle.file("decoder.data").read_bytes())
    start, size = int(place["offset"]), int(place["length"])
    data[start : start + size] = bytes(reversed(data[start : start + size]))
    bundle.file("decoder.data").write_bytes(data)
    seal_again(bundle.path)
    proof = verify(Bundle.open(bundle.path), Source.open(checkpoint))
    assert not proof.passed


def test_command_line(tmp_path: Path) -> None:
    """The shipped recipe, from a checkpoint to an answer; the other half of its decoder is named."""
    done = edge_inside("export", "nano", "--target", "onnx", "--weights", "int4-exact8", "--out", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    assert "decoder int4-g32-exact8" in done.stderr
    seen = edge_inside("inspect", tmp_path / "bundle")
    assert SECOND_FORM in " ".join(seen.stdout.split()), seen.stdout
    ran = edge_inside("run", "--model", tmp_path / "bundle", "What is this?")
    assert ran.returncode == 0 and ran.stdout.strip(), ran.stderr

"""Quantized checkpoints in Core ML packages: the integers as they are, and what the packages compute with them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from export_settings import settings_for
from hypothesis import given, settings
from hypothesis import strategies as st
from random_checkpoints import write_checkpoint
from stored_weights import coreml_weights
from torch import Tensor

from phantom_edge.bundle.proof import STAGES
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.export.interpreters.mil.interpreter import Interpreter
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.graph import Drawing, port
from phantom_edge.export.targets.coreml.layouts import Channels, Rows
from phantom_edge.export.targets.coreml.lower import settle
from phantom_edge.export.targets.coreml.options import Compute
from phantom_edge.export.targets.coreml.weights import Weights
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import EMBEDDING
from phantom_edge.quantize.palettes import with_palettes
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.quantize.rounding import nearest
from phantom_edge.runtime.rows import Rows as Table

pytest.importorskip("coremltools")

HELD = [scheme for scheme in SCHEMES.values() if not scheme.static_inputs]
TEXT = ("decoder", "embedding", "head")


def files_of(held: Quantized) -> QuantizedFiles:
    """A checkpoint of one weight, called w."""
    found = SimpleNamespace(schemes={"w": held.scheme}, quantized=lambda _name: held)
    return cast(QuantizedFiles, found)


def quantized(weight: Tensor, scheme: Scheme) -> Quantized:
    return with_palettes(weight, scheme, None) if scheme.palette_rows else nearest(weight, scheme)


@given(st.sampled_from(HELD), st.integers(1, 40), st.integers(1, 4), st.booleans(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_package_holds_these_numbers(
    tmp_path_factory: pytest.TempPathFactory, scheme: Scheme, rows: int, groups: int, is_gpu: bool, seed: int
) -> None:
    """Read from the file, and asked of the interpreter: the identity times the weight."""
    columns = groups * (scheme.group or 56)
    held = quantized(torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)), scheme)
    package, path = Drawing(18), tmp_path_factory.mktemp("one") / "one.mlpackage"
    layout = Rows if is_gpu else Channels
    weights = Weights(lambda _: held.dequantize(), files_of(held), 18)

    def draw(graph: Any) -> dict[str, Any]:
        return {"y": layout(graph, weights).linear(graph["x"], "w")}

    package.function("main", [port("x", layout.shape(columns, columns))], [], draw)
    package.save(path)
    integers, weight = coreml_weights(path)["w"]
    middle = scheme.middle if scheme.symmetric and not scheme.palette_rows else 0
    assert np.array_equal(integers[:rows] + middle, held.integers.numpy())
    want = held.dequantize().numpy()
    assert np.array_equal(weight[:rows], want)
    one = torch.eye(columns)[None] if is_gpu else torch.eye(columns)[None, :, None]
    found = Interpreter(Package.open(path)).run({"x": one})["y"]
    found = found[0].T if is_gpu else found[0, :, 0]
    assert np.array_equal(found[:rows].numpy(), want)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights at full phantom strength."""
    return write_checkpoint(tmp_path_factory.mktemp("quantized") / "checkpoint")


RECIPES: dict[str, tuple[Compute, int, Recipe]] = {
    "int4": ("gpu", 18, Recipe(dict.fromkeys(TEXT, "int4-g32"))),
    "int4-asym": ("gpu", 18, Recipe({"decoder": "int4-g32-asym", "vision": "int4-g32"})),
    "int3": ("gpu", 18, Recipe({"decoder": "int3-g32", "embedding": "int8"})),
    "lut4": ("ane", 18, Recipe({"decoder": "lut4-r16", "embedding": "int8", "head": "lut4-r32", "vision": "int8"})),
    "int8-17": ("ane", 17, Recipe(dict.fromkeys((*TEXT, "vision", "projector"), "int8"))),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_bundle_holds_the_integers_and_computes_with_them(name: str, checkpoint: Path) -> None:
    """Every weight bit for bit, in every function; and all stages against the dequantized reference."""
    compute, ios, recipe = RECIPES[name]
    folder = checkpoint.parent / name
    quantize_checkpoint(checkpoint, recipe, folder, name=name)
    files = QuantizedFiles.open(folder)
    asked = settings_for("coreml", max_context=256, prefill_chunk=32, compute="auto", ios=ios)
    bundle = export_bundle(str(folder), "coreml", checkpoint.parent / f"{name}.bundle", asked).bundle
    proof, fixed = bundle.proof, bundle.facts(AppleFacts)
    assert (fixed.compute, fixed.ios) == (compute, ios)
    assert proof is not None and proof.passed and {check.stage for check in proof.checks} > set(STAGES)
    assert {f"exact {stage}" for stage in STAGES} <= {check.stage for check in proof.checks}
    held = {}
    for file in {part.file for part in bundle.manifest.parts.values()}:
        held |= coreml_weights(bundle.path / file)
    wanted = {key for key in files.schemes if key != EMBEDDING}
    assert held.keys() == {key.replace(".", "_") for key in wanted}
    for key in wanted:
        weight = files.quantized(key)
        integers, found = held[key.replace(".", "_")]
        is_signed = weight.zero_points is None and weight.palettes is None
        assert np.array_equal(integers + (weight.scheme.middle if is_signed else 0), weight.integers.numpy()), key
        assert np.array_equal(found, weight.dequantize().numpy()), key
    rows = Table(bundle)[np.arange(bundle.manifest.embedding.rows)]
    exact = files.read(EMBEDDING).float()
    assert np.array_equal(rows, (exact if EMBEDDING in files.schemes else exact.half().float()).numpy())
    shutil.rmtree(bundle.path)


REFUSED = {
    "table": (Recipe({"embedding": "lut4-r16"}), {}, "is read row by row"),
    "chunk of one": (Recipe({"decoder": "int8"}), {"prefill_chunk": 1}, "function of its own for one token"),
    "blocks": (Recipe({"decoder": "int4-g32"}), {"compute": "ane"}, "has a scale for each block of a row"),
    "palettes": (Recipe({"decoder": "lut4-r16"}), {"ios": 17}, "iOS 17 does not read lut4-r16"),
    "state": (Recipe({"decoder": "int8"}), {"ios": 17, "compute": "gpu"}, "iOS 17 does not have"),
    "fp32": (Recipe({"decoder": "int8"}), {"precision": "fp32"}, "computes in fp16, not in fp32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(name: str, checkpoint: Path, tmp_path: Path) -> None:
    recipe, asked, problem = REFUSED[name]
    folder = tmp_path / "quantized"
    quantize_checkpoint(checkpoint, recipe, folder, name=name)
    with pytest.raises(EdgeError, match=problem) as error:
        export_bundle(str(folder), "coreml", tmp_path / "out", settings_for("coreml", **asked))
    assert error.value.remedy and {path.name for path in tmp_path.iterdir()} == {"quantized"}


def test_palettes_that_do_not_divide_a_weight_are_refused(checkpoint: Path) -> None:
    config = PhantomConfig.from_pretrained(checkpoint)
    config.text.intermediate_size = 260
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    with pytest.raises(EdgeError, match="260 rows, which palettes of 16 rows do not divide"):
        settle(config, {name: SCHEMES["lut4-r16"]}, settings_for("coreml"))

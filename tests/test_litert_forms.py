"""Forms of target litert for GPUs and NPUs: what export writes, proves and refuses."""

import ast
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from command_line import edge_inside
from export_settings import settings_for

pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")
pytest.importorskip("litert_lm_builder", reason="LiteRT-LM's builder (litert-lm-builder) is not installed")

from litert_gpu import HAS_DRIVER, on_gpu

from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.litert.chips import CHIPS, MODELS, Maker
from phantom_edge.export.targets.litert.compiling import script
from phantom_edge.export.targets.litert.facts import METADATA, SCRIPT, LiteRtFacts
from phantom_edge.export.targets.litert.lint import lint
from phantom_edge.export.targets.litert.lower import settle
from phantom_edge.export.targets.litert.reader.model import read_model
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.shipped import NANO
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.sampling import Sampling

SAMPLE = Path(__file__).parents[1] / "apps/samples/00000/00009002.png"
QUESTION = "What is the price?"
PRECISE = 1e-3
"""Largest error of image tokens on a GPU: SwiftShader's float32, in another order, over six layers."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "int8"
    quantize_checkpoint(NANO, read_recipe("int8"), folder, name="int8")
    return folder


@pytest.fixture(scope="module")
def bundles(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Bundle]:
    desk, found = tmp_path_factory.mktemp("forms"), dict[str, Bundle]()

    def get(name: str, **own: str) -> Bundle:
        if name not in found:
            asked = settings_for("litert", max_context=192, max_tiles=1, **own)
            found[name] = export_bundle(str(checkpoint), "litert", desk / name, asked).bundle
        return found[name]

    return get


@pytest.mark.slow
def test_graphs_for_npus(bundles: Callable[..., Bundle]) -> None:
    """Proved by LiteRT on the CPU and by the reader; eligible by every published list; with the step for a chip."""
    bundle = bundles("npu", compute="npu", chip="mt6991")
    assert bundle.proof is not None and bundle.proof.passed and bundle.verified
    assert "".join(open_session(bundle.path).ask(QUESTION, [SAMPLE], Sampling(8)))
    facts = bundle.facts(LiteRtFacts)
    assert {SCRIPT, METADATA} <= set(bundle.manifest.files) and facts.container == "" and facts.chip == "mt6991"
    signatures = {part.function for part in bundle.manifest.parts.values()}
    assert {"prefill_mask_64", "decode_rope", "decode_cache_update", "prefill_embedder_64", "decode"} <= signatures
    report = lint(bundle)
    assert set(report.parts) == {"vision", "decoder", "chunk"} and report.compute == "mt6991"
    assert all(part.eligible == part.operations for part in report.parts.values())
    assert "compile.py" in (bundle.path / "README.md").read_text(encoding="utf-8")


@pytest.mark.long
@pytest.mark.skipif(not HAS_DRIVER, reason="SwiftShader (Debian's package chromium) is not installed")
def test_a_picture_on_a_gpu(bundles: Callable[..., Bundle]) -> None:
    """SwiftShader runs the delegate for GPUs: same tokens, and image tokens as the reader computes them."""
    bundle = bundles("gpu", compute="gpu")
    assert bundle.proof is not None and bundle.proof.passed
    assert all(part.eligible == part.operations for part in lint(bundle).parts.values())
    answer, off = on_gpu(bundle.path, SAMPLE, QUESTION)
    assert off <= PRECISE
    assert answer == "".join(open_session(bundle.path).ask(QUESTION, [SAMPLE], Sampling(16)))


@pytest.mark.slow
def test_rows_of_4_bits(tmp_path: Path) -> None:
    """Proved by LiteRT and the reader; the file holds the checkpoint's integers, and only what GPUs and makers take."""
    quantize_checkpoint(NANO, read_recipe("int4-row"), tmp_path / "checkpoint", name="int4-row")
    asked = settings_for("litert", max_context=192, max_tiles=1, compute="gpu")
    bundle = export_bundle(str(tmp_path / "checkpoint"), "litert", tmp_path / "bundle", asked).bundle
    assert bundle.proof is not None and bundle.proof.passed
    files, graph = QuantizedFiles.open(tmp_path / "checkpoint"), read_model(bundle.file("decoder.tflite"))["decode"]
    fours = {one.name.removesuffix(".integers"): one for one in graph.tensors if one.dtype == "INT4"}
    assert fours.keys() == {name for name, scheme in files.schemes.items() if scheme.name == "int4-pos"} != set()
    for name, tensor in fours.items():
        wanted = files.quantized(name)
        assert np.array_equal(tensor.stored.astype(int), wanted.integers.numpy().astype(int) - wanted.scheme.middle)
        assert np.array_equal(tensor.scales, wanted.scales[:, 0].float())
    assert all(part.eligible == part.operations for part in lint(bundle).parts.values())
    assert "".join(open_session(bundle.path).ask(QUESTION, [SAMPLE], Sampling(8)))


@pytest.mark.parametrize("compute", ["gpu", "npu"])
def test_blocks_are_refused(compute: str) -> None:
    config = PhantomConfig.from_pretrained(NANO)
    with pytest.raises(EdgeError, match="blocks of 4 bits"):
        settle(config, {"a.weight": SCHEMES["int4-g32-pos"]}, settings_for("litert", compute=compute))


def test_a_chip_is_for_npus(tmp_path: Path) -> None:
    ran = edge_inside("export", "nano", "--target", "litert", "--chip", "mt6991", "--out", tmp_path / "bundle")
    assert ran.returncode == 2 and "give --compute npu, too" in ran.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mt6991", "tensor-g5", "e9965", "sm8750"])
def test_the_step_for_a_chip(name: str, tmp_path: Path) -> None:
    """A program that knows its chip, says the terms, and explains itself without any package."""
    chip, path = CHIPS[name], tmp_path / SCRIPT
    path.write_text(script(chip, ["vision", "embedding", "decoder", "auxiliary"]), encoding="utf-8")
    lines = ast.parse(path.read_text(encoding="utf-8")).body
    known = {ast.unparse(one.targets[0]): ast.literal_eval(one.value) for one in lines if isinstance(one, ast.Assign)}
    assert known["MODEL"] == chip.model and known["ON_NPU"] == ("vision", "decoder")
    assert known["KINDS"]["auxiliary"] == "AUX" and chip.maker.terms in known["TERMS"]
    ran = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0 and "--least" in ran.stdout


@pytest.mark.parametrize("maker", MODELS)
def test_chips_are_those_of_litert(maker: Maker) -> None:
    module = import_module(f"ai_edge_litert.aot.vendors.{maker.module}.target")
    assert {one.value for one in module.SocModel} == {*MODELS[maker], "ALL"}

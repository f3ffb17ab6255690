"""Target jetson: bundles are proved, and the runner does what TensorRT's documents ask.

No TensorRT is here. The runner meets a stand-in for it, which executes the graph in ONNX Runtime at the addresses that
it is given: that shows the runner's own control flow, and says nothing about TensorRT. What does is the check against
golden vectors that the runner makes on the board.
"""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from export_settings import settings_for
from fake_tensorrt import FakeCuda, FakeTensorRT
from stored_weights import compare_weights
from typer.testing import CliRunner

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import RELATIVE, STAGES
from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.cli.main import app
from phantom_edge.convert.random import write_random
from phantom_edge.export.linting import lint_bundle as lint
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.jetson import runner as trt
from phantom_edge.export.targets.jetson.boards import LEAST, RELEASES, jetpack_for
from phantom_edge.export.targets.jetson.engine import OrtJetsonEngine, TrtEngine, provider_options
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.jetson.golden import sizes_of
from phantom_edge.export.targets.jetson.lower import settle
from phantom_edge.export.targets.jetson.options import JetsonOptions
from phantom_edge.export.targets.target import Settings
from phantom_edge.export.targets.trials import BOUNDS
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.shipped import NANO
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe

pytest.importorskip("onnxruntime")

CHUNK = 32


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Nano in every format. Float16 is proved by export itself, int4 by the command of its page (test_readme.py), and
    int8 by golden vectors.
    """
    desk = tmp_path_factory.mktemp("jetson")
    found = {}
    for name in ("fp16", "int8", "int4-g64"):
        model = NANO
        if name != "fp16":
            model = desk / f"{name}-checkpoint"
            quantize_checkpoint(NANO, read_recipe(name), model, name=name)
        wanted = settings_for("jetson", max_context=128, prefill_chunk=CHUNK, max_tiles=1, board="orin-nx")
        found[name] = export_bundle(str(model), "jetson", desk / name, wanted, prove=name == "fp16").bundle
    return found


@pytest.mark.parametrize("name", ["fp16", "int8", "int4-g64"])
def test_a_bundle_is_proved(name: str, bundles: dict[str, Bundle]) -> None:
    """Within the bounds of float16, quantized or not: nothing rounds activations. Integers are those of the file."""
    bundle = bundles[name]
    proof = Bundle.open(bundle.path).proof
    if name == "fp16":
        assert proof is not None and proof.passed and {check.stage for check in proof.checks} == set(STAGES)
        bounds = {check.bound for check in proof.checks if check.measure == RELATIVE}
        assert bounds == {BOUNDS["float16"]["vision"], BOUNDS["float16"][RELATIVE]}
    least = "10.9" if name == "int4-g64" else "10.0"
    board = bundle.facts(BoardFacts)
    assert board.tensorrt == least and board.workspace_megabytes == 1024
    assert f"TensorRT {least}" in (bundle.path / "README.md").read_text()
    assert (bundle.path / "runner.py").read_bytes() == Path(trt.__file__).read_bytes()
    assert lint(bundle.path).findings == ()
    if name != "fp16":
        files = QuantizedFiles.open(bundle.path.parent / f"{name}-checkpoint")
        assert compare_weights(bundle, files) == files.schemes.keys()


def test_it_answers(bundles: dict[str, Bundle]) -> None:
    assert "".join(open_session(bundles["fp16"].path).ask("Who are you?", []))


def test_golden_vectors_hold_and_tell_faults(bundles: dict[str, Bundle]) -> None:
    """The check that a runner makes on the board, of ONNX Runtime's CPU; and of one that does something wrong."""
    for bundle in (bundles["int8"], bundles["fp16"]):
        golden = bundle.path / "golden.npz"
        found = trt.check(OrtJetsonEngine(bundle, 1), golden)
        assert 0 < found["vision"] < trt.VISION_BOUND / 4 and 0 < found["logits"] < trt.LOGITS_BOUND / 4
    assert BOUNDS["float16"]["vision"] == trt.VISION_BOUND and BOUNDS["float16"][RELATIVE] == trt.LOGITS_BOUND
    engine = OrtJetsonEngine(bundle, 1)
    forward, see = engine.forward, engine.encode_images
    deaf, blind, lost = (SimpleNamespace(forward=forward, encode_images=see) for _ in range(3))
    deaf.forward = lambda embeds, start, keep: forward(embeds, 0, keep)
    blind.encode_images = lambda pixels: see(pixels[..., ::-1].copy())
    lost.forward = lambda embeds, start, keep: np.full((len(keep), 1024), np.nan, np.float32)
    for fault, told in ((deaf, "logits are off by"), (blind, "vision are off by"), (lost, "logits are off by nan")):
        with pytest.raises(trt.BoardError, match=told):
            trt.check(fault, golden)


@pytest.mark.parametrize("chunk,context", [(16, 128), (64, 64), (16, 20), (2, 16), (60, 64)])
def test_golden_vectors_fit(chunk: int, context: int) -> None:
    sizes = sizes_of(chunk, context)
    assert sum(sizes) <= context and max(sizes) <= chunk and sizes[-4:] == [1] * 4


WRONG = {
    "fp32": (Settings("fp32"), {}, "computes in fp16"),
    "one token": (Settings("fp16", prefill_chunk=1), {}, "a profile of its own"),
    **{
        scheme: (Settings("fp16"), {"lm_head.weight": SCHEMES[scheme]}, f"lm_head.weight is {scheme}, and of integers")
        for scheme in SCHEMES
        if scheme not in ("int8", "int4-g64-pos", "int4-g128-pos")
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_what_tensorrt_does_not_document_is_refused(name: str) -> None:
    config = PhantomConfig.from_pretrained(NANO)
    settings, schemes, told = WRONG[name]
    named = {next(iter(matrices(config))): scheme for scheme in schemes.values()}
    with pytest.raises(EdgeError, match=told.replace("lm_head.weight", r"\S+")) as raised:
        settle(config, named, settings)
    assert "\n" not in raised.value.problem and raised.value.remedy


def test_scales_that_are_not_positive_are_refused(tmp_path: Path) -> None:
    """A file may hold them whose scheme says nothing of signs."""
    from safetensors.torch import load_file, save_file

    write_random(SIZES["tiny"], tmp_path / "tiny")
    quantize_checkpoint(tmp_path / "tiny", read_recipe("int8"), tmp_path / "q", name="int8")
    (file,) = (tmp_path / "q").glob("*.safetensors")
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("down_proj.weight.scales"))
    tensors[name][0] *= -1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(EdgeError, match="scales that are not positive"):
        export_bundle(str(tmp_path / "q"), "jetson", tmp_path / "out", Settings("fp16", max_context=64), prove=False)


def test_boards_are_data() -> None:
    assert all(one.source for one in RELEASES)
    assert [jetpack_for(version) for version in LEAST.values()] == ["6.2", "7.2"]
    with pytest.raises(EdgeError, match="--board is nano"):
        JetsonOptions(board="nano")


def test_help_and_bad_input(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "200"}).stdout
    assert "--board" in shown and "orin-nano, orin-nx, agx-orin" in shown
    done = CliRunner().invoke(app, ["export", "-t", "jetson", "--board", "tx2", "-o", str(tmp_path / "x")])
    assert done.exit_code == 2 and "error: --board is tx2" in done.stderr


# The runner, beside stand-ins for TensorRT and CUDA.


@pytest.fixture
def board(bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeTensorRT]:
    fake = FakeTensorRT()
    monkeypatch.setitem(sys.modules, "tensorrt", fake)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", FakeCuda())  # type: ignore[arg-type]
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin NX\0")
    monkeypatch.setattr(trt, "MODEL", tmp_path / "model")
    yield fake
    for bundle in bundles.values():
        for path in (bundle.path / "engines").glob("*"):
            path.unlink()


def test_the_runner_builds_once_and_checks_once(board: FakeTensorRT, bundles: dict[str, Bundle]) -> None:
    """A stand-in for TensorRT, see above: control flow, bindings and addresses alone."""
    folder = bundles["fp16"].path
    first = trt.Engines(folder)
    assert board.built == ["vision", "decoder"] and board.limits == [1024 << 20] * 2
    assert 0 < first.checked["logits"] < trt.LOGITS_BOUND
    second = trt.Engines(folder)
    assert board.built == ["vision", "decoder"] and second.checked == {}
    assert len(second.parts["decoder"].contexts) == 2 and len(second.parts["vision"].contexts) == 1
    names = sorted(path.name for path in (folder / "engines").iterdir())
    assert len(names) == 4 and all("NVIDIA-Jetson-Orin-NX-10.16.2" in name for name in names)
    trt.Engines(folder, rebuild=True)
    assert board.built == ["vision", "decoder"] * 2


def test_the_runner_and_onnx_runtime_agree(board: FakeTensorRT, bundles: dict[str, Bundle]) -> None:
    """Chunks longer than a profile's, single tokens, and rows that the cache held before."""
    bundle = bundles["fp16"]
    engine, other = TrtEngine(bundle), OrtJetsonEngine(bundle, 1)
    embeds = engine.embed(np.arange(5, 5 + 2 * CHUNK + 3))
    for start, part, keep in (
        (0, embeds, [0, 40, 66]),
        (35, embeds[:1], [0]),
        (4, embeds[:7], [6]),
        (11, embeds[:1], [0]),
    ):
        kept = np.array(keep)
        ours, theirs = engine.forward(part, start, kept), other.forward(part, start, kept)
        assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < 2e-2 * np.abs(theirs).max()
    pixels = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    assert np.array_equal(engine.encode_images(pixels), other.encode_images(pixels))


def test_engines_of_another_version_board_or_graph_are_refused(board: FakeTensorRT, bundles: dict[str, Bundle]) -> None:
    folder = bundles["fp16"].path
    trt.Engines(folder)
    (path,) = (folder / "engines").glob("decoder*.engine")
    about = trt.about_engine(trt.Bundle(folder), "decoder", board)
    for name, value, told in (
        ("tensorrt", "10.3.0", r"was built with TensorRT 10.3.0, and here is 10.16.2"),
        ("board", "NVIDIA Jetson AGX Orin", "was built with board NVIDIA Jetson AGX Orin, and here is"),
        ("graph", "0" * 64, "was built with graph 000"),
    ):
        trt.write_engine(path, {**about, name: value}, b"plan")
        with pytest.raises(trt.BoardError, match=told):
            trt.Engines(folder)
    for damaged in (b"", b"garbage", trt.MAGIC + b"{", trt.MAGIC + b"[]\nplan"):
        path.write_bytes(damaged)
        with pytest.raises(trt.BoardError, match="is no engine of this runner"):
            trt.Engines(folder)


@pytest.mark.parametrize(
    "wrong,told", [("parse", "does not take the graph vision: no such operator"), ("build", "builds no")]
)
def test_what_tensorrt_refuses_is_told(wrong: str, told: str, board: FakeTensorRT, bundles: dict[str, Bundle]) -> None:
    board.wrong = wrong
    with pytest.raises(trt.BoardError, match=told):
        trt.Engines(bundles["fp16"].path)
    with pytest.raises(EdgeError, match=told):
        TrtEngine(bundles["int8"])


def test_a_tensorrt_that_is_too_old(board: FakeTensorRT, bundles: dict[str, Bundle]) -> None:
    board.__version__ = "10.3.0"  # type: ignore[misc]
    trt.Engines(bundles["fp16"].path)
    with pytest.raises(trt.BoardError, match=r"needs TensorRT 10\.9, and here is 10\.3\.0") as raised:
        trt.Engines(bundles["int4-g64"].path)
    assert "JetPack 7.2" in raised.value.remedy


def test_the_copy_in_the_bundle_runs_by_itself(
    board: FakeTensorRT, bundles: dict[str, Bundle], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bundles["fp16"].path / "runner.py"
    assert "phantom_edge." not in path.read_text().replace("``", "").split('"""', 2)[2]
    for arguments, code, told in (
        ([], 0, "relative error: vision"),
        ([], 0, "checked before"),
        (["nowhere"], 1, "no bundle"),
    ):
        monkeypatch.setattr(sys, "argv", ["runner.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        shown = capsys.readouterr()
        assert ended.value.code == code and told in shown.out + shown.err


def test_what_is_missing_on_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "cuda", "cuda.bindings", "cuda.bindings.runtime", "cuda.cudart"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(trt.BoardError, match="TensorRT's Python package"):
        trt.tensorrt()
    with pytest.raises(trt.BoardError, match="CUDA's Python package"):
        trt.Cuda()


def test_options_of_the_provider(bundles: dict[str, Bundle]) -> None:
    found = provider_options(bundles["int8"].file("decoder.onnx"))
    assert found["trt_max_workspace_size"] == str(1024 << 20) and found["trt_engine_cache_path"].endswith("engines")
    assert (
        "inputs_embeds:1x192" in found["trt_profile_min_shapes"] and "past_rows:128x" in found["trt_profile_max_shapes"]
    )
    assert not any("profile" in key for key in provider_options(bundles["int8"].file("vision.onnx")))


def test_lint_on_the_command_line(bundles: dict[str, Bundle]) -> None:
    done = CliRunner().invoke(app, ["lint", str(bundles["int8"].path), "--strict", "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["placement"] == "as documented, not run" and document["findings"] == []
    shown = CliRunner().invoke(app, ["lint", str(bundles["int8"].path)], env={"COLUMNS": "160"}).stdout
    shown = " ".join(shown.split())
    assert "in TensorRT" in shown and "no rule is broken" in shown and "Neural Engine" not in shown

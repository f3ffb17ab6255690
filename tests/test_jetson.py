"""Target jetson: the graphs compute the model, in ONNX Runtime; and the runner does what TensorRT's documents ask.

No TensorRT is here. The runner meets a stand-in for it, which executes the graph in ONNX Runtime at the addresses that
it is given: that shows the runner's own control flow, and says nothing about TensorRT. What does is the check against
golden vectors that the runner makes on the board.
"""

import ctypes
import json
import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from export_settings import settings_for
from golden_checkpoints import ARCHITECTURES, Golden
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from stored_weights import compare
from typer.testing import CliRunner

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import RELATIVE, STAGES
from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.cli.main import app
from phantom_edge.convert.random import write_random
from phantom_edge.export.linting import lint_bundle as lint
from phantom_edge.export.passes.fold import fold_layers
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rank import Bases, bases_of, whole
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.jetson import runner as trt
from phantom_edge.export.targets.jetson.boards import LEAST, RELEASES, jetpack_for
from phantom_edge.export.targets.jetson.engine import OrtJetsonEngine, TrtEngine, provider_options
from phantom_edge.export.targets.jetson.facts import BoardFacts
from phantom_edge.export.targets.jetson.golden import sizes_of
from phantom_edge.export.targets.jetson.graph import TrtDecoderDrawing, TrtVisionDrawing
from phantom_edge.export.targets.jetson.lint import RULES, broken
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

ort = pytest.importorskip("onnxruntime")

BOUND = 1e-4
CONTEXT, CHUNK = 64, 32
GOLDEN = [*(f"{name}-1.0" for name in ARCHITECTURES), "0_5b-tied-1.0", "3_8b-sw16-1.0"]


def session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(str(path), options)


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
    (split,) = (len(node.outputs) for node in drawing.tape.nodes if len(node.outputs) > 3)
    assert split * 8 > 256
    embeds = np.zeros((2, text.hidden_size), np.float16)
    fed = {"inputs_embeds": embeds, "position_ids": np.arange(2)[None], "logits_to_keep": np.arange(1)}
    (logits,) = session(tmp_path / "decoder.onnx").run(
        ["logits"], fed | {"past_rows": np.zeros((1, drawing.width), np.float16)}
    )
    assert np.isfinite(logits).all()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Nano in every format, proved by export itself; but int8, of which the golden vectors must do."""
    desk = tmp_path_factory.mktemp("jetson")
    found = {}
    for name in ("fp16", "int8", "int4-g64"):
        model = NANO
        if name != "fp16":
            model = desk / f"{name}-checkpoint"
            quantize_checkpoint(NANO, read_recipe(name), model, name=name)
        wanted = settings_for("jetson", max_context=128, prefill_chunk=CHUNK, max_tiles=1, board="orin-nx")
        found[name] = export_bundle(str(model), "jetson", desk / name, wanted, prove=name != "int8").bundle
    return found


@pytest.mark.parametrize("name", ["fp16", "int8", "int4-g64"])
def test_a_bundle_is_proved(name: str, bundles: dict[str, Bundle]) -> None:
    """Within the bounds of float16, quantized or not: nothing rounds activations. Integers are those of the file."""
    bundle = bundles[name]
    manifest = Bundle.open(bundle.path).manifest
    if name != "int8":
        proof = manifest.proof
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
        assert compare(bundle, files) == files.schemes.keys()


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
    assert done.exit_code == 1 and "error: --board is tx2" in done.stderr


# The runner, beside stand-ins for TensorRT and CUDA.


class Memory:
    """CUDA's runtime on the CPU: addresses are real, multiples of 256, and copies are copies."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self) -> None:
        self.held: list[Any] = []

    def cudaMalloc(self, size: int) -> tuple[int, int]:
        block = ctypes.create_string_buffer(size + 256)
        self.held.append(block)
        return 0, -(-ctypes.addressof(block) // 256) * 256

    def cudaMemset(self, address: int, value: int, size: int) -> tuple[int]:
        ctypes.memset(address, value, size)
        return (0,)

    def cudaMemcpy(self, to: int, source: int, size: int, kind: int) -> tuple[int]:
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaStreamCreate(self) -> tuple[int, int]:
        return 0, 5

    def cudaStreamSynchronize(self, stream: int) -> tuple[int]:
        return (0,)


class Context:
    """Runs the graph at the addresses that it was given, if shapes are what the profile allows."""

    def __init__(self, profiles: list[Any], decoder: Any) -> None:
        self.profiles, self.session, self.profile = profiles, decoder, 0
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self.profile = number
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.profiles:
            least, likely, most = self.profiles[self.profile][name]
            assert all(a <= b <= c for a, b, c in zip(least, likely, most, strict=True))
            if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
                return False
        self.shapes[name] = shape
        return True

    def execute_async_v3(self, stream: int) -> bool:
        fed = {}
        for port in self.session.get_inputs():
            dtype, shape = np.dtype({"tensor(float16)": "f2", "tensor(int64)": "i8"}[port.type]), self.shapes[port.name]
            size = int(np.prod(shape)) * dtype.itemsize
            fed[port.name] = np.frombuffer(ctypes.string_at(self.addresses[port.name], size), dtype).reshape(shape)
        names = [port.name for port in self.session.get_outputs()]
        for name, array in zip(names, self.session.run(names, fed), strict=True):
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(array).ctypes.data, array.nbytes)
        return True


class Fake:
    """A stand-in for TensorRT's module; its plans are the path of a graph and the profiles."""

    __version__ = "10.16.2"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")

    def __init__(self, wrong: str = "") -> None:
        self.built: list[str] = []
        self.limits: list[int] = []
        self.wrong = wrong
        self.Logger = type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None})

    def Builder(self, logger: Any) -> Any:
        def network(flags: int) -> Any:
            assert flags == 2
            return SimpleNamespace()

        def build(network: Any, config: Any) -> bytes | None:
            self.built.append(Path(network.path).stem)
            return None if self.wrong == "build" else json.dumps([network.path, config.profiles]).encode()

        return SimpleNamespace(
            create_network=network,
            create_builder_config=lambda: Config(self.limits),
            create_optimization_profile=lambda: Profile(),
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        def parse(path: str) -> bool:
            network.path = path
            return self.wrong != "parse"

        return SimpleNamespace(parse_from_file=parse, num_errors=1, get_error=lambda number: "no such operator")

    def Runtime(self, logger: Any) -> Any:
        def load(plan: bytes) -> Any:
            path, profiles = json.loads(plan)
            loaded = session(Path(path))
            return SimpleNamespace(create_execution_context=lambda: Context(profiles, loaded))

        return SimpleNamespace(deserialize_cuda_engine=load)


class Profile(dict[str, Any]):
    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self[name] = shapes


class Config:
    def __init__(self, limits: list[int]) -> None:
        self.profiles: list[Profile] = []
        self.limits = limits

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.limits.append(size)

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(profile)


@pytest.fixture
def board(bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fake]:
    fake = Fake()
    monkeypatch.setitem(sys.modules, "tensorrt", fake)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings", SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", Memory())  # type: ignore[arg-type]
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin NX\0")
    monkeypatch.setattr(trt, "MODEL", tmp_path / "model")
    yield fake
    for bundle in bundles.values():
        for path in (bundle.path / "engines").glob("*"):
            path.unlink()


def test_the_runner_builds_once_and_checks_once(board: Fake, bundles: dict[str, Bundle]) -> None:
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


def test_the_runner_and_onnx_runtime_agree(board: Fake, bundles: dict[str, Bundle]) -> None:
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


def test_engines_of_another_version_board_or_graph_are_refused(board: Fake, bundles: dict[str, Bundle]) -> None:
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
def test_what_tensorrt_refuses_is_told(wrong: str, told: str, board: Fake, bundles: dict[str, Bundle]) -> None:
    board.wrong = wrong
    with pytest.raises(trt.BoardError, match=told):
        trt.Engines(bundles["fp16"].path)
    with pytest.raises(EdgeError, match=told):
        TrtEngine(bundles["int8"])


def test_a_tensorrt_that_is_too_old(board: Fake, bundles: dict[str, Bundle]) -> None:
    board.__version__ = "10.3.0"  # type: ignore[misc]
    trt.Engines(bundles["fp16"].path)
    with pytest.raises(trt.BoardError, match=r"needs TensorRT 10\.9, and here is 10\.3\.0") as raised:
        trt.Engines(bundles["int4-g64"].path)
    assert "JetPack 7.2" in raised.value.remedy


def test_the_copy_in_the_bundle_runs_by_itself(
    board: Fake, bundles: dict[str, Bundle], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
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


# Rules.


def graph(
    nodes: Sequence[Any],
    held: dict[str, NDArray[Any] | onnx.TensorProto],
    opset: int = 21,
    kind: int = TensorProto.FLOAT16,
) -> onnx.ModelProto:
    """A graph from x to y."""
    tensors = []
    for name, value in held.items():
        tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value)
        tensor.name = name
        tensors.append(tensor)
    port = helper.make_tensor_value_info("x", kind, ["N", 128])
    out = helper.make_tensor_value_info("y", kind, None)
    made = helper.make_graph(nodes, "g", [port], [out], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)])


def node(kind: str, *inputs: str, domain: str = "", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], domain=domain, **attributes)


def dequantized(bits: int = 4, block: int = 64, axis: int = 0, scale: float = 1.0, **more: Any) -> onnx.ModelProto:
    """A weight (128, 64)."""
    kind = more.get("kind", TensorProto.INT4 if bits == 4 else TensorProto.INT8)
    held: dict[str, Any] = {"w": helper.make_tensor("w", kind, [128, 64], [1] * (128 * 64))}
    shape = (64,) if not block else (128 // block, 64) if axis == 0 else (128, 64 // block)
    held["s"] = np.full(shape, scale, np.float16)
    held |= (
        {"z": helper.make_tensor("z", kind, list(shape), [more["zero"]] * int(np.prod(shape)))}
        if "zero" in more
        else {}
    )
    places = {"axis": axis, "block_size": block} if block else {"axis": 1}
    inputs = [more.get("weight", "w"), more.get("scales", "s"), *(["z"] if "zero" in more else [])]
    return graph([node("DequantizeLinear", *inputs, **places)], held, kind=more.get("out", TensorProto.FLOAT16))


RELU = graph([node("Sigmoid", "x")], {})
PLAIN8, PLAIN4 = dequantized(8, 0), dequantized()
CASES: dict[str, tuple[onnx.ModelProto, onnx.ModelProto]] = {
    "opset": (graph([node("Sigmoid", "x")], {}, 23), RELU),
    "domain": (graph([node("MatMulNBits", "x", domain="com.microsoft")], {}), RELU),
    "operator": (graph([node("MatMulInteger", "x", "x")], {}), graph([node("MatMul", "x", "x")], {})),
    "later-operator": (graph([node("Gelu", "x")], {}, 20), graph([node("Erf", "x")], {}, 20)),
    "types": (dequantized(kind=TensorProto.UINT4), PLAIN4),
    "constants": (dequantized(weight="x"), PLAIN4),
    "zero-points": (dequantized(zero=1), dequantized(zero=0)),
    "scales": (dequantized(scale=-1.0), PLAIN4),
    "scale-types": (dequantized(scales="w"), PLAIN4),
    "block-size": (dequantized(block=32), dequantized(block=128)),
    "block-axis": (
        graph(
            [node("DequantizeLinear", "w", "s", axis=0, block_size=64)],
            {
                "w": helper.make_tensor("w", TensorProto.INT4, [64, 2, 2], [1] * 256),
                "s": np.ones((1, 2, 2), np.float16),
            },
        ),
        dequantized(axis=1),
    ),
    "axes": (
        graph([node("ReduceMean", "x", "x")], {}),
        graph([node("ReduceMean", "x", "a")], {"a": np.array([-1])}),
    ),
    "attention": (
        graph([node("Attention", "x", "x", "x", "", "x")], {}),
        graph([node("Attention", "x", "x", "x")], {}),
    ),
    "int64": (
        graph([node("Slice", "x", "a", "b")], {"a": np.array([0]), "b": np.array([2**63 - 1])}),
        graph([node("Slice", "x", "a", "b")], {"a": np.array([0]), "b": np.array([2**31 - 1])}),
    ),
}


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_is_broken_and_its_neighbour_is_not(rule: str, tmp_path: Path) -> None:
    bad, good = CASES[rule]
    onnx.save(bad, tmp_path / "bad.onnx")
    onnx.save(good, tmp_path / "good.onnx")
    assert rule in broken(tmp_path / "bad.onnx") and rule not in broken(tmp_path / "good.onnx")


def test_blocks_of_eight_bits_and_none_of_four(tmp_path: Path) -> None:
    for number, (model, is_broken) in enumerate(
        ((PLAIN8, False), (dequantized(8, 64), True), (dequantized(4, 0), True))
    ):
        onnx.save(model, tmp_path / f"{number}.onnx")
        assert ("block-size" in broken(tmp_path / f"{number}.onnx")) is is_broken


def test_every_rule_has_a_case_and_a_source() -> None:
    assert {rule.name for rule in RULES} == CASES.keys() and len(CASES) == len(RULES)
    for rule in RULES:
        assert rule.what and rule.sources and all(source.url.startswith("https://") for source in rule.sources)


def test_a_damaged_graph_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"\xff\x00garbage")
    with pytest.raises(EdgeError, match="is no ONNX graph"):
        broken(tmp_path / "x.onnx")
    with pytest.raises(EdgeError, match="is no ONNX graph"):
        broken(tmp_path / "nothing.onnx")


def test_lint_on_the_command_line(bundles: dict[str, Bundle]) -> None:
    done = CliRunner().invoke(app, ["lint", str(bundles["int8"].path), "--strict", "--json"])
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["placement"] == "as documented, not run" and document["findings"] == []
    shown = CliRunner().invoke(app, ["lint", str(bundles["int8"].path)], env={"COLUMNS": "160"}).stdout
    shown = " ".join(shown.split())
    assert "in TensorRT" in shown and "no rule is broken" in shown and "Neural Engine" not in shown

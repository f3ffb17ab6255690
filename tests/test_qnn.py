"""Target qnn: bundles are proved in the simulator, which computes what was compiled, and wrong ones are refused."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import resealed
from command_line import edge_inside
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from qualcomm_bundles import CHUNK, CONTEXT, settings_of, write_bundle, write_desk
from stored_weights import onnx_weights

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import STAGES
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.proof.report import write_report
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.sessions import session_of
from phantom_edge.export.targets.qnn import compiling
from phantom_edge.export.targets.qnn import lower as target
from phantom_edge.export.targets.qnn.chips import SOCS
from phantom_edge.export.targets.qnn.compiling import Task, compile_graphs, version_of, why
from phantom_edge.export.targets.qnn.engine import QnnEngine
from phantom_edge.export.targets.qnn.exact import ExactQnnEngine
from phantom_edge.export.targets.qnn.facts import HexagonFacts
from phantom_edge.export.targets.qnn.layers import decibels
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES
from phantom_edge.quantize.calibration import embedded, read_samples
from phantom_edge.reference import Reference

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxruntime_qnn")

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_desk(tmp_path_factory.mktemp("qnn"))


@pytest.fixture(scope="module")
def eight(desk: Path) -> Path:
    return write_bundle(desk, "int8")


@pytest.fixture(scope="module")
def four(desk: Path) -> Path:
    return write_bundle(desk, "int4", "sm8750")


def asked(desk: Path, which: str) -> tuple[Floats, Floats]:
    """A tile of the pictures that were calibrated on, and the rows of a question about it."""
    source = Source.open(desk / {"eight": "int8", "four": "int4"}[which])
    (sample, *_) = read_samples(desk / "triples.jsonl", source, 4, with_pictures=True)
    assert sample.pixels is not None
    (rows,) = embedded(Reference(source), [sample])
    return sample.pixels[:1].numpy(), rows.numpy()


def graph_of(bundle: Path, part: str) -> onnx.ModelProto:
    return onnx.load(bundle / "source" / f"{part}.onnx")


def test_bundle_is_proved_in_the_simulator(desk: Path, eight: Path) -> None:
    """Every stage keeps its bounds; without rounding nothing but constants of 16 bits is left; and layers are told."""
    source = Source.open(desk / "int8")
    proof = verify(Bundle.open(eight), source)
    assert not [check for check in proof.checks if not check.passed]
    assert proof.passed and {check.stage for check in proof.checks} > set(STAGES)
    exact = [check.value for check in proof.checks if check.stage.startswith("exact") and check.measure[:3] == "rel"]
    assert exact and max(one for one in exact if one is not None) < 2e-4
    layers = {(one.part, one.layer): one.decibels for one in proof.layers}
    assert set(layers) == {(part, layer) for part in ("vision", "prefill") for layer in range(2)}
    told = [one.decibels for one in proof.layers if one.decibels is not None]
    assert told == sorted(told) and min(told) > 45
    write_report(desk / "report.html", Bundle.open(eight), proof)
    assert f"<td>vision<td>1<td>{layers['vision', 1]:.1f}" in (desk / "report.html").read_text()


@pytest.mark.parametrize("which", ["eight", "four"])
def test_every_operator_is_on_the_processor(which: str, request: pytest.FixtureRequest) -> None:
    """One node is left of each graph, and the fallback was off; what chip it is for, and what compiled it, is told."""
    bundle = Bundle.open(request.getfixturevalue(which))
    chip = bundle.facts(HexagonFacts)
    assert (SOCS[chip.name].number, SOCS[chip.name].arch) == (chip.soc, chip.arch)
    for name, part in bundle.manifest.parts.items():
        assert version_of(bundle.file(part.file)) == chip.sdk
        assert part.delegation is not None and part.delegation.share == 1.0 and not part.delegation.outside
        compiled = onnx.load(bundle.file(part.file), load_external_data=False).graph
        assert [port.name for port in compiled.input] == [port.name for port in part.inputs], name


@pytest.mark.parametrize("which", ["eight", "four"])
def test_simulator_and_graphs_agree(which: str, desk: Path, request: pytest.FixtureRequest) -> None:
    """In a chunk and token by token, and looking at a tile: the ranges that calibration saw are those that are met."""
    bundle = Bundle.open(request.getfixturevalue(which))
    pixels, embeds = asked(desk, which)
    seen, said = [], []
    for engine in (QnnEngine(bundle), ExactQnnEngine(bundle)):
        seen.append(engine.encode_images(pixels))
        logits = [engine.forward(embeds[:CHUNK], 0, np.arange(CHUNK))]
        logits += [engine.forward(embeds[at : at + 1], at, np.array([0])) for at in range(CHUNK, CHUNK + 4)]
        said.append(np.concatenate(logits))
    assert (decibels(seen[0], seen[1]) or 0) > 45 and (decibels(said[0], said[1]) or 0) > 45


def test_integers_are_the_checkpoints(desk: Path, eight: Path, four: Path) -> None:
    """And their scales; each is in one file once, for a chunk, a token and the head."""
    for bundle, name in ((eight, "int8"), (four, "int4")):
        files = Source.open(desk / name).integers
        assert isinstance(files, QuantizedFiles)
        found = {**onnx_weights(bundle / "source/vision.onnx"), **onnx_weights(bundle / "source/decoder.onnx")}
        compared = {key for key in found if key in files.schemes}
        for key in compared:
            assert np.array_equal(found[key], files.quantized(key).dequantize().numpy()), key
        assert len(compared) == len(files.schemes) - (0 if Source.open(desk / name).config.tie_word_embeddings else 1)
        for part in ("prefill", "head"):
            graph = onnx.load(bundle / "source" / f"{part}.onnx", load_external_data=False).graph
            places = {
                entry.value for one in graph.initializer for entry in one.external_data if entry.key == "location"
            }
            assert places == {"decoder.data"}


def test_scales_of_the_cache_are_the_same_everywhere(four: Path) -> None:
    """In and out, for a chunk and for one token: a row that one graph wrote means the same to the other."""
    found = []
    for part in ("prefill", "decoder"):
        graph = graph_of(four, part).graph
        held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        scales = {}
        for node in graph.node:
            for name in (*node.input[:1], *node.output):
                if name.startswith(("past_", "new_")) and "Linear" in node.op_type:
                    scales.setdefault(name, set()).add(tuple(held[one].item() for one in node.input[1:]))
        assert all(len(one) == 1 for one in scales.values())
        assert all(scales[name] == scales[name.replace("new_", "past_")] for name in scales)
        found.append(scales)
    assert found[0] == found[1] and len(found[0]) == 8


def test_shared_weights(desk: Path, eight: Path) -> None:
    """One file for a chunk, a token and the head, smaller than theirs; the simulator runs what it was compiled from."""
    shared = Bundle.open(write_bundle(desk, "int8", shared=True))
    own = {shared.manifest.parts[name].weights[0] for name in target.DECODER}
    assert len(own) == 1
    apart = sum((eight / f"{name}_qnn.bin").stat().st_size for name in target.DECODER)
    assert shared.file(own.pop()).stat().st_size < 0.8 * apart
    embeds = QnnEngine(shared).embed(np.array([1, 7, 9]))
    ours, theirs = (QnnEngine(one).forward(embeds, 0, np.array([2])) for one in (shared, Bundle.open(eight)))
    assert np.array_equal(ours, theirs)
    assert "for the first time" in (shared.path / "README.md").read_text()
    ran = edge_inside("run", "--model", shared.path, "--max-new-tokens", 2, "Who?")
    assert ran.returncode == 0 and "compiled apart" in ran.stderr


def test_readme_says_how_to_feed(eight: Path) -> None:
    text = (eight / "README.md").read_text()
    assert "Snapdragon 8 Gen 3" in text and f"`prefill` of {CHUNK} rows" in text


def test_rotations_that_are_longer_than_one(tmp_path: Path) -> None:
    """As some models have them past their first context: ranges reach as far, in what runs, too."""
    rope = {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3, "original_max_position_embeddings": 64}
    desk = write_desk(tmp_path, replace(SIZES["tiny"], rope={**SIZES["tiny"].rope, **rope}), ("int8",))
    bundle = Bundle.open(write_bundle(desk, "int8"))
    rotary = np.fromfile(bundle.file("rotary.data"), np.float32)
    assert np.abs(rotary).max() > 1.2
    _, embeds = asked(desk, "eight")
    ours, theirs = (one(bundle).forward(embeds[:CHUNK], 0, np.arange(CHUNK)) for one in (QnnEngine, ExactQnnEngine))
    assert (decibels(ours, theirs) or 0) > 45


def test_documents_are_alone_on_stdout(eight: Path) -> None:
    """Of a process of its own: Qualcomm's library says a line when it loads."""
    command = [
        sys.executable,
        "-m",
        "phantom_edge",
        "run",
        "--model",
        str(eight),
        "--max-new-tokens",
        "2",
        "--json",
        "Who?",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout)["tokens"] >= 1


def test_compiler_ends_with_who_asked(eight: Path, tmp_path: Path) -> None:
    """Or it would write into the folder of the next export."""
    graphs = [str(eight / "source/prefill.onnx"), str(tmp_path / "prefill.onnx")]
    task = {"graphs": [graphs], "soc": 57, "arch": 75, "shared": False, "result": str(tmp_path / "told.json")}
    (tmp_path / "task.json").write_text(json.dumps(task))
    child = f"[{sys.executable!r}, '-m', 'phantom_edge.export.targets.qnn.compiling', {str(tmp_path / 'task.json')!r}]"
    script = f"import subprocess; c = subprocess.Popen({child}); print(c.pid, flush=True); c.wait()"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(1.0)  # until it has asked to end with its parent
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the compiler lives on")


def test_a_question(desk: Path, eight: Path) -> None:
    """Asked through the command line, of a bundle that nothing has proved."""
    ran = edge_inside("run", "--model", eight, "--image", desk / "0.png", "--max-new-tokens", 3, "Is it red?")
    assert ran.returncode == 0 and "unverified" in ran.stderr, ran.stderr


def exported(desk: Path, *arguments: object) -> Any:
    calib = [] if "--no-calib" in arguments else ["--calib", desk / "triples.jsonl"]
    words = [one for one in arguments if one != "--no-calib"]
    return edge_inside("export", *words, "--target", "qnn", *calib, "--max-context", CONTEXT, "--out", desk / "none")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["int8", "--no-calib"], "--calib"),
        (["int8", "--soc", "sm9999"], "there is no chip 'sm9999'"),
        (["int8", "--soc", "sm8450"], "sm8450 (Snapdragon 8 Gen 1) multiplies"),
        (["float"], "is float"),
        (["float", "--weights", "fp32"], "not in fp32"),
        (["float", "--weights", "lut4"], "lut4"),
        (["int8", "--cache", "int8"], "--cache is for target onnx, not qnn"),
        (["int8", "--opset-only"], "--opset-only is for target onnx, not qnn"),
        (["int8", "--compute", "ane"], "for target coreml"),
        (["int8", "--prefill-chunk", "1"], "one token"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(desk: Path, arguments: list[str], said: str) -> None:
    ran = exported(desk, desk / arguments[0], *arguments[1:])
    assert ran.returncode in (1, 2) and said in ran.stderr and "Traceback" not in ran.stderr, ran.stderr
    assert not (desk / "none").exists()


def test_calibration_needs_pictures(desk: Path) -> None:
    (desk / "words.jsonl").write_text(json.dumps({"question": "Who?", "chosen": "me"}))
    ran = edge_inside("export", desk / "int8", "-t", "qnn", "--calib", desk / "words.jsonl", "--out", desk / "none")
    assert ran.returncode == 1 and "no pictures" in ran.stderr


def test_simulator_that_is_not_there(desk: Path, eight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    for ran in (exported(desk, desk / "int8"), edge_inside("run", "--model", eight, "Who?")):
        assert ran.returncode == 1 and "run: pip install" in ran.stderr and "[qnn]'" in ran.stderr, ran.stderr


def changed(bundle: Path, out: Path, change: Any = lambda _: None) -> Path:
    shutil.copytree(bundle, out)
    resealed(out, change)
    return out


def test_older_compiler(eight: Path, tmp_path: Path) -> None:
    def newer(document: Any) -> None:
        document["tools"]["onnxruntime-qnn"] = "99.0"

    with pytest.raises(EdgeError, match=r"onnxruntime-qnn 99\.0, here is .*\n.*pip install 'onnxruntime-qnn>=99\.0'"):
        session_of(Bundle.open(changed(eight, tmp_path / "newer", newer)))


def test_damaged_files(eight: Path, tmp_path: Path) -> None:
    """Half a binary, and one of another part."""
    half, other = tmp_path / "half", tmp_path / "other"
    shutil.copytree(eight, half)
    binary = half / "decoder_qnn.bin"
    binary.write_bytes(binary.read_bytes()[: binary.stat().st_size // 2])
    resealed(half)
    with pytest.raises(EdgeError, match=r"decoder\.onnx does not load"):
        session_of(Bundle.open(half))
    shutil.copytree(eight, other)
    shutil.copy(other / "head.onnx", other / "decoder.onnx")
    resealed(other)
    with pytest.raises(EdgeError, match="other inputs or outputs"):
        session_of(Bundle.open(other))


def test_other_weights_are_seen(desk: Path, eight: Path, tmp_path: Path) -> None:
    """A layer whose integers were changed after compiling: what runs is right, what it is said to be made of is not."""
    spoiled = tmp_path / "spoiled"
    shutil.copytree(eight, spoiled)
    path = spoiled / "source/decoder.onnx"
    model = onnx.load(path, load_external_data=False)
    places: dict[str, Mapping[str, str]] = {
        one.name: {entry.key: entry.value for entry in one.external_data} for one in model.graph.initializer
    }
    name = next(name for name in places if "o_proj" in name and name.endswith(".integers"))
    data = bytearray((spoiled / "source/decoder.data").read_bytes())
    start, length = int(places[name]["offset"]), int(places[name]["length"])
    data[start : start + length] = data[start : start + length][::-1]
    (spoiled / "source/decoder.data").write_bytes(data)
    resealed(spoiled)
    embeds, keep = asked(desk, "eight")[1][:CHUNK], np.arange(CHUNK)
    right, wrong = (ExactQnnEngine(Bundle.open(one)).forward(embeds, 0, keep) for one in (eight, spoiled))
    ours = QnnEngine(Bundle.open(eight)).forward(embeds, 0, keep)
    assert (decibels(ours, right) or 0) > 45 > 20 > (decibels(ours, wrong) or 0)


def test_full_disk_is_called_that(eight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not another chip asked for."""
    out, task = tmp_path / "none" / "head.onnx", Task([], 57, 75, False, "")
    out.parent.mkdir()
    monkeypatch.setattr(compiling.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    error = why(eight / "source/head.onnx", out, task, RuntimeError("Failed to write context cache file"))
    assert "the disk is full" in error.problem and "free" in error.remedy


def test_missing_pictures_are_told(desk: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"image": f"{n}.png", "question": "Is it red?", "chosen": "yes"}) for n in range(4)]
    (tmp_path / "triples.jsonl").write_text("\n".join(lines))
    shutil.copy(desk / "0.png", tmp_path / "0.png")
    ran = edge_inside(
        "export", desk / "int8", "-t", "qnn", "--calib", tmp_path / "triples.jsonl", "--out", desk / "none"
    )
    assert ran.returncode == 1 and "of 4 questions" in ran.stderr and "3 have no picture" in ran.stderr, ran.stderr


def test_what_falls_to_the_cpu_is_named(tmp_path: Path) -> None:
    """And what is no graph at all."""
    node = helper.make_node("Det", ["x"], ["y"], name="alone")
    ports = [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one, shape in (("x", [4, 4]), ("y", []))]
    model = helper.make_model(
        helper.make_graph([node], "one", ports[:1], ports[1:]),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "one.onnx")
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(EdgeError, match=r"1 operators of one\.onnx would run on the CPU: Det 'alone'"):
        compile_graphs([(tmp_path / "one.onnx", tmp_path / "out.onnx")], 57, 75, shared=False)
    with pytest.raises(EdgeError, match="Qualcomm's compiler"):
        compile_graphs([(tmp_path / "none.onnx", tmp_path / "out.onnx")], 57, 75, shared=False)


def test_interrupted_export_goes_on(desk: Path, eight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration is not repeated, nor is what is compiled already; nothing half-written is left.

    The compiler's part is played, by what it made of the same graphs before.
    """
    out = desk / "again"
    calls: list[str] = []

    def stopping(graphs: Sequence[tuple[Path, Path]], *_: Any, **__: Any) -> str:
        ((graph, compiled),) = graphs
        calls.append(graph.stem)
        if len(calls) == 2:
            raise KeyboardInterrupt
        for name in (compiled.name, f"{graph.stem}_qnn.bin"):
            shutil.copy(eight / name, compiled.with_name(name))
        return version_of(compiled)

    monkeypatch.setattr(target, "compile_graphs", stopping)
    with pytest.raises(KeyboardInterrupt):
        export_bundle(str(desk / "int8"), "qnn", out, settings_of(desk), prove=False)
    assert not out.exists() and calls == ["vision", "decoder"]
    monkeypatch.setattr(target, "calibrate", None)
    export_bundle(str(desk / "int8"), "qnn", out, settings_of(desk), prove=False)
    assert calls == ["vision", "decoder", "decoder", "prefill", "head"] and Bundle.open(out)

"""The commands around bundles, as a person runs them: export, inspect, verify, run, eval; and what they refuse.

One of each kind in a process of its own, the rest in this one.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import document, edge, edge_inside, flat
from noise import noise
from random_checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.cli.main import app
from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a bundle of it, and a photo."""
    desk = tmp_path_factory.mktemp("desk")
    write_checkpoint(desk / "checkpoint")
    done = edge("export", desk / "checkpoint", "--target", "onnx", "--out", desk / "bundle", "--max-context", 256)
    assert done.returncode == 0, done.stderr
    assert "relative error" in done.stdout and "next: phantom-edge run" in flat(done.stderr)
    (desk / "mine").mkdir()
    (desk / "mine" / "diary").write_text("dear")
    noise((200, 90), 80).save(desk / "photo.png")
    return desk


@pytest.mark.slow
def test_a_bundle_and_its_checkpoint_answer_alike(desk: Path) -> None:
    arguments = ("--image", desk / "photo.png", "--max-new-tokens", 12, "What is it?")
    bundle, checkpoint = (document("run", "--model", desk / name, *arguments) for name in ("bundle", "checkpoint"))
    same = ("text", "tokens", "prompt_tokens", "stopped_by")
    assert [bundle[name] for name in same] == [checkpoint[name] for name in same]
    assert bundle.keys() == checkpoint.keys() and bundle["tokens_per_second"] > 0
    streamed = edge("run", "--model", desk / "bundle", *arguments)
    assert streamed.stdout == bundle["text"] + "\n" and "first token after" in streamed.stderr


@pytest.mark.slow
def test_eval_of_a_bundle_equals_that_of_its_checkpoint(desk: Path) -> None:
    lines = [{"image": "photo.png", "question": f"Is it {word}?", "chosen": "yes", "rejected": "no"} for word in "abc"]
    (desk / "triples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    answers = []
    for name in ("bundle", "checkpoint"):
        out = desk / f"report of {name}"
        done = edge_inside("eval", desk / name, "--data", desk / "triples.jsonl", "--out", out, "--max-new-tokens", 6)
        assert done.returncode == 0, done.stderr
        answers.append([json.loads(line)["answer"] for line in (out / "answers.jsonl").read_text().splitlines()])
        settings = json.loads((out / "report.json").read_text())["settings"]
        assert settings["dtype"] == "float32" and settings.get("verified") is (True if name == "bundle" else None)
    assert answers[0] == answers[1] and len(answers[0]) == 3


def test_inspect(desk: Path) -> None:
    found = document("inspect", desk / "bundle", "--context", 100)
    assert found["verified"] is True and found["model"]["eta"] == 1.0
    memory = found["memory_bytes"]["100"]
    assert memory["together"] == memory["weights"] + memory["cache"]
    assert found["parts"]["decoder"]["operators"]["MatMul"] > 4
    table = edge_inside("inspect", desk / "bundle").stdout
    assert "KB a token" in table and "all inputs" in table and "RMSNormalization" in table


@pytest.mark.parametrize("command", [("inspect",), ("verify", "--golden"), ("inspect", "--json")])
def test_screens_fit_80_columns(command: tuple[str, ...], desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS counts in a pipe, too; the one document of --json is not cut."""
    monkeypatch.setenv("COLUMNS", "80")
    verb, *flags = command
    done = edge_inside(verb, "bundle", *flags, cwd=desk)
    assert done.returncode == 0, done.stderr
    if "--json" in flags:
        assert json.loads(done.stdout)
        return
    framed = [line for line in done.stdout.splitlines() if line[:1] in "│┃┏┡└"]
    assert framed and max(map(len, framed)) <= 80


@pytest.mark.slow
def test_inspect_diff_and_unverified_bundles(desk: Path) -> None:
    """An unverified bundle says so wherever it is used, until a verification is recorded in it."""
    out = desk / "unverified"
    made = edge_inside("export", desk / "checkpoint", "-t", "onnx", "-o", out, "--max-context", 128, "--no-verify")
    assert made.returncode == 0 and "unverified" in made.stdout and f"phantom-edge verify {out}" in made.stderr
    differs = document("inspect", out, "--diff", desk / "bundle")
    assert differs["cache.max_context"] == [256, 128] and differs["verified"] == [True, False]
    shown = edge_inside("inspect", out, "--diff", desk / "bundle").stdout
    assert shown.index("differ in") < shown.index("Differences") < shown.index("cache.max_context")
    assert "the same in both: model, " in shown
    assert "the two bundles are the same" in edge_inside("inspect", out, "--diff", out).stderr
    assert "is unverified" in edge_inside("run", "--model", out, "--max-new-tokens", 2, "Why?").stderr
    verified = edge_inside("verify", out, "--record")
    assert verified.returncode == 0 and "left out" in verified.stderr  # the pictures do not fit into 128 tokens
    assert document("inspect", out)["verified"] is True
    assert "unverified" not in edge_inside("run", "--model", out, "--max-new-tokens", 2, "Why?").stderr


@pytest.mark.slow
def test_verify_reports_and_fails(desk: Path, tmp_path: Path) -> None:
    """Against a checkpoint whose embedding was nudged: told as another checkpoint, and past the bounds."""
    found = document("verify", desk / "bundle", "--html", tmp_path / "good.html")
    assert found["passed"] and not found["left_out"] and len(found["checks"]) > 50
    page = (tmp_path / "good.html").read_text()
    assert "verified" in page and page.count("<tr>") > 18 and "FAILED" not in page
    other = shutil.copytree(desk / "checkpoint", tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["model.language_model.layers.1.mlp.down_proj.weight"] *= 1.02
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    done = edge_inside("verify", desk / "bundle", "--against", other, "--html", tmp_path / "bad.html")
    assert done.returncode == 1 and "FAILED" in done.stdout and "is not the checkpoint that" in done.stderr
    assert 'class="failed"' in (tmp_path / "bad.html").read_text()
    write_random(SIZES["nano"], tmp_path / "nano")
    done = edge_inside("verify", desk / "bundle", "--against", tmp_path / "nano")
    assert done.returncode == 1 and "was made from another model than" in done.stderr and not done.stdout


def test_ctrl_c_says_that_the_same_command_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("phantom_edge.export.pipeline.export_bundle", stop)
    done = CliRunner().invoke(app, ["export", "nano", "--target", "onnx", "--out", str(tmp_path / "bundle")])
    assert done.exit_code == 130 and "the same command goes on" in done.output and not done.stdout


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "no such target": (("export", "nano", "-t", "tpu", "-o", "x"), "there is no target 'tpu'"),
    "no such checkpoint": (("export", "none", "-t", "onnx", "-o", "x"), "there is no folder none"),
    "no such phantom": (("export", "nano", "-t", "onnx", "-o", "x", "--phantom", "some"), "--phantom is 'some'"),
    "half a number": (("export", "nano", "-t", "onnx", "-o", "x", "--phantom", "elide=1e"), "--phantom is 'elide=1e'"),
    "the whole disk": (("export", "nano", "-t", "onnx", "-o", "/"), "/ is no place for a folder of its own"),
    "no place for a report": (("verify", "{desk}/bundle", "--html", "no/such/x.html"), "there is no folder"),
    "no cache": (("export", "nano", "-t", "onnx", "-o", "x", "--max-context", 3), "--max-context is 3"),
    "no tiles": (("export", "nano", "-t", "onnx", "-o", "x", "--max-tiles", 0), "--max-tiles is 0"),
    "there already": (("export", "nano", "-t", "onnx", "-o", "{desk}/bundle"), "exists already"),
    "not ours": (("export", "nano", "-t", "onnx", "-o", "{desk}/mine", "--force"), "holds other things"),
    "inspect a checkpoint": (("inspect", "{desk}/checkpoint"), "is no bundle"),
    "verify nothing": (("verify", "none"), "there is no folder none"),
    "verify against nothing": (("verify", "{desk}/bundle", "--against", "none"), "there is no folder none"),
    "beams": (("run", "--model", "{desk}/bundle", "--beams", 3, "hi"), "--beams is for checkpoints"),
    "a batch": (("eval", "{desk}/bundle", "-d", "{desk}/triples.jsonl", "--batch", 3), "--batch is for checkpoints"),
    "no picture": (("run", "--model", "{desk}/bundle", "--image", "none.png", "hi"), "none.png"),
    "no question": (("run", "--model", "{desk}/bundle", " "), "the question is empty"),
    "too long": (("run", "--model", "{desk}/bundle", "word " * 300), "this bundle holds 256"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_line_and_a_remedy(name: str, desk: Path) -> None:
    arguments, message = REFUSED[name]
    (desk / "triples.jsonl").write_text('{"image": "photo.png", "question": "q", "chosen": "a", "rejected": "b"}')
    done = edge_inside(*(str(argument).replace("{desk}", str(desk)) for argument in arguments), cwd=desk)
    assert done.returncode in (1, 2) and not done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("loading")]
    assert len(lines) == 2 and lines[0].startswith("error: ") and message in lines[0] and lines[1].startswith("  ")
    assert not (desk / "x").exists() and not list(desk.glob(".*"))


@pytest.mark.slow
def test_a_damaged_bundle_answers_nothing(desk: Path, tmp_path: Path) -> None:
    for name in ("decoder.data", MANIFEST):
        damaged = shutil.copytree(desk / "bundle", tmp_path / name)
        content = bytearray((damaged / name).read_bytes())
        content[len(content) // 2] ^= 4
        (damaged / name).write_bytes(content)
        for command in (("run", "--model", damaged, "hi"), ("inspect", damaged), ("verify", damaged)):
            done = edge_inside(*command)
            assert done.returncode == 1 and not done.stdout and name in done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_bundles_run_without_torch(desk: Path, tmp_path: Path) -> None:
    """Every package of the model, blocked: run, eval and inspect work, what needs the model says what to install."""
    for package in ("torch", "transformers", "safetensors", "onnx", "onnx_ir", "optimum"):
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('absent', name='{package}')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    asked = ("--model", desk / "bundle", "--image", desk / "photo.png", "--max-new-tokens", 4, "What is it?")
    assert edge("run", *asked, env=environment).stdout == edge("run", *asked).stdout != ""
    assert edge("inspect", desk / "bundle", env=environment).returncode == 0
    for command in (("run", "hi"), ("export", "nano", "-t", "onnx", "-o", tmp_path / "x"), ("verify", desk / "bundle")):
        done = edge(*command, env=environment)
        assert done.returncode == 1
        assert re.search(r"package 'torch' is not installed\n  run: pip install -e '\.\[model\]'", done.stderr)


@pytest.mark.slow
def test_quantize_then_export_and_both_at_once(desk: Path, tmp_path: Path) -> None:
    """Both ways end in the same integers. Without --keep nothing is left beside the bundle, which names its model, and
    verify quantizes once more to compare with.
    """
    quantized, bundle = tmp_path / "quantized", tmp_path / "bundle"
    done = edge_inside("quantize", desk / "checkpoint", "--recipe", "int4", "--out", quantized)
    assert done.returncode == 0 and "int4-g32" in done.stdout and "next: phantom-edge export" in flat(done.stderr)
    parts = document("quantize", desk / "checkpoint", "--out", quantized, "--force")["parts"]
    assert {part["part"] for part in parts} == {"decoder", "embedding", "head", "vision", "projector"}
    options = ("--target", "onnx", "--max-context", 128)
    done = edge_inside("export", desk / "checkpoint", *options, "--weights", "int4", "--out", bundle)
    assert done.returncode == 0 and "vision and projector int8; embedding, decoder and head int4-g32-pos" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".quantized")] == []
    assert "int4 (rtn); matrices: " in edge_inside("inspect", bundle).stdout
    made = edge_inside("export", quantized, *options, "--out", tmp_path / "other", "--no-verify")
    assert made.returncode == 0, made.stderr
    one, other = (document("inspect", path)["files"]["decoder.data"] for path in (bundle, tmp_path / "other"))
    assert one == other and document("inspect", bundle)["integers"]["algorithm"] == "rtn"
    assert document("inspect", bundle)["model"]["name"] == "checkpoint"
    verified = edge_inside("verify", bundle, cwd=desk)
    assert verified.returncode == 0 and "once more" in verified.stderr and "differ" not in verified.stderr
    beside = edge_inside("verify", bundle, "--against", desk / "checkpoint")
    assert beside.returncode == 0 and "have no bounds" in beside.stderr and "none" in beside.stdout
    refused = edge_inside("verify", bundle, "--against", desk / "checkpoint", "--record")
    assert refused.returncode == 2 and "--record is for a proof" in refused.stderr
    again = ("--weights", "int4", "--out", bundle, "--force", "--keep", "--no-verify")
    kept = edge_inside("export", desk / "checkpoint", *options, *again)
    assert kept.returncode == 0 and f"kept in {bundle}.quantized" in kept.stderr
    verified = edge_inside("verify", bundle)
    assert verified.returncode == 0 and "once more" not in verified.stderr
    answers = [document("run", "--model", one, "--max-new-tokens", 4, "Why?")["text"] for one in (bundle, quantized)]
    assert answers[0] and answers[1]


@pytest.mark.slow
def test_an_int8_cache_and_standard_operators(desk: Path, tmp_path: Path) -> None:
    """Both at once, proved, inspected and asked; and what they are called where they are misspelt."""
    bundle = tmp_path / "bundle"
    options = ("--target", "onnx", "--max-context", 128, "--weights", "int8", "--opset-only", "--cache", "int8")
    done = edge_inside("export", desk / "checkpoint", *options, "--out", bundle)
    assert done.returncode == 0, done.stderr
    about = document("inspect", bundle)
    assert about["cache"]["rounded"] and "MatMulNBits" not in about["parts"]["decoder"]["operators"]
    assert "(int8)" in edge_inside("inspect", bundle).stdout
    assert document("run", "--model", bundle, "--max-new-tokens", 4, "Why?")["text"]
    wrong = edge_inside(
        "export", desk / "checkpoint", "--target", "onnx", "--cache", "int9", "--out", tmp_path / "none"
    )
    assert wrong.returncode == 2 and "--cache is int9" in wrong.stderr and not (tmp_path / "none").exists()


QUANTIZE_WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no recipe": (("--recipe", "int5"), "there is no recipe 'int5'"),
    "no algorithm": (("--algorithm", "magic"), "algorithm is 'magic'"),
    "no data": (("--algorithm", "gptq"), "--calib"),
    "no such data": (("--algorithm", "gptq", "--calib", "none.jsonl"), "there is no file none.jsonl"),
    "no samples": (("--algorithm", "gptq", "--calib", "none.jsonl", "--samples", "0"), "--samples is 0"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZE_WRONG)
def test_quantize_refuses(name: str, desk: Path, tmp_path: Path) -> None:
    arguments, complaint = QUANTIZE_WRONG[name]
    done = edge_inside("quantize", desk / "checkpoint", *arguments, "--out", tmp_path / "out", "--json")
    assert done.returncode in (1, 2) and complaint in done.stderr and done.stdout == ""
    assert not (tmp_path / "out").exists()

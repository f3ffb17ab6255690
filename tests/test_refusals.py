"""Mistakes on the command line: refused before torch is loaded, with the exit codes that docs/running.md states."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import edge_inside
from noise import noise

from phantom_edge.bundle.folder import MANIFEST, Bundle, read_manifest
from phantom_edge.export.targets import TARGETS
from phantom_edge.foundation import versions
from phantom_edge.foundation.errors import EdgeError, UsageError, need
from phantom_edge.profile.measure.stages import check_runtime

ROOT = Path(__file__).resolve().parents[1]

REFUSED = (
    (2, "there is no target 'onxn'", ("export", "nano", "-t", "onxn")),
    (2, "--compute is for target coreml", ("export", "nano", "-t", "onnx", "--compute", "gpu")),
    (2, "--cache is half", ("export", "nano", "-t", "onnx", "--cache", "half")),
    (2, "--max-context is 3", ("export", "nano", "-t", "onnx", "--max-context", "3")),
    (2, "--phantom is 'some'", ("export", "nano", "-t", "onnx", "--phantom", "some")),
    (2, "there is no recipe 'itn4'", ("export", "nano", "-t", "onnx", "--weights", "itn4")),
    (2, "--keep is for a recipe's", ("export", "nano", "-t", "onnx", "--keep")),
    (2, "--calib is given", ("export", "nano", "-t", "onnx", "--calib", "pyproject.toml")),
    (1, "there is no file none.jsonl", ("export", "nano", "-t", "qnn", "--calib", "none.jsonl")),
    (1, "there is no folder naon", ("export", "naon", "-t", "onnx")),
    (2, "there is no recipe 'int5'", ("quantize", "nano", "-r", "int5", "-o", "out")),
    (2, "rtn has no steps", ("quantize", "nano", "-r", "int4", "--steps", "3", "-o", "out")),
    (1, "none.png does not exist", ("run", "-i", "none.png", "What?")),
    (1, "is not a picture", ("run", "-i", "pyproject.toml", "What?")),
    (2, "stdin holds one picture", ("run", "-i", "-", "-i", "-", "What?")),
    (1, "there is no folder naon", ("run", "-m", "naon", "What?")),
    (2, "size '9b' is not one of", ("init", "9b", "-o", "out", "--random")),
    (2, "needs --random", ("init", "nano", "-o", "out")),
    (1, "there is no folder naon", ("convert", "naon", "-o", "out")),
    (1, "tests exists already", ("convert", "nano", "-o", "tests")),
    (1, "there is no file none.jsonl", ("mix", "nano", "--calib", "none.jsonl", "-o", "out", "--megabytes", "4")),
    (2, "there is not one bound", ("mix", "nano", "--calib", "none.jsonl", "-o", "out")),
    (2, "no scheme 'int4'", ("mix", "--calib", "x", "-o", "out", "--megabytes", "4", "--choices", "int4")),
    (2, "w8a8 is no choice", ("mix", "--calib", "x", "-o", "out", "--megabytes", "4", "--choices", "w8a8")),
    (1, "there is no file none.jsonl", ("train", "po", "nano", "-d", "none.jsonl", "-o", "out")),
    (1, "there is no folder naon", ("train", "po", "naon", "-d", "none.jsonl", "-o", "out")),
    (1, "none.jsonl", ("eval", "nano", "-d", "none.jsonl")),
    (1, "there is no folder none", ("lint", "none")),
    (1, "there is no folder none", ("verify", "none")),
    (1, "there is no folder none", ("profile", "none")),
    (2, "there is no device 'pixel9'", ("plan", "nano", "--device", "pixel9")),
    (2, "--ttft is 'soon'", ("plan", "nano", "--device", "pixel-9", "--ttft", "soon")),
    (2, "there is no size and no folder", ("plan", "nona", "--device", "pixel-9")),
    (2, "--size 9 is no size", ("data", "scenes", "-o", "out", "--size", "9")),
)
"""Exit code, part of the message, command. 2: a word that the command does not take; 1: a file that is not right."""

PROGRAM = """
import json, sys
from typer.testing import CliRunner
from phantom_edge.cli.main import app
found = [CliRunner().invoke(app, words) for words in json.loads(sys.argv[1])]
assert "torch" not in sys.modules
print(json.dumps([[one.exit_code, one.stderr, one.stdout] for one in found]))
"""


def test_mistakes_are_refused_at_once() -> None:
    """In one process, which has not loaded torch in the end."""
    words = json.dumps([words for _, _, words in REFUSED])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (code, problem, command), (exit_code, stderr, stdout) in zip(REFUSED, json.loads(done.stdout), strict=True):
        assert exit_code == code and not stdout, (command, stderr, stdout)
        first, *rest = [line for line in stderr.splitlines() if line]
        assert first.startswith("error: ") and problem in first, (command, stderr)
        assert len(rest) == 1 and rest[0].startswith("  "), (command, stderr)
    assert not (ROOT / "out").exists()


def test_the_codes_are_the_documented_ones() -> None:
    text = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    assert (
        "exit codes are 0, 1 (" in text and "2 (what the command line itself refuses" in text and "130 (Ctrl-C)" in text
    )
    assert (EdgeError("", "").exit_code, UsageError("", "").exit_code) == (1, 2)


def test_uneven_lengths_are_a_warning(tmp_path: Path) -> None:
    noise((40, 30), 1).save(tmp_path / "a.png")
    line = {"image": "a.png", "question": "What is it?", "chosen": "a very long answer", "rejected": "no"}
    (tmp_path / "t.jsonl").write_text(json.dumps(line))
    plain = edge_inside("data", "validate", tmp_path / "t.jsonl")
    assert plain.returncode == 0 and "warning: chosen answers are 9.00 times as long" in plain.stderr
    assert edge_inside("data", "validate", tmp_path / "t.jsonl", "--strict").returncode == 1
    (tmp_path / "t.jsonl").write_text(json.dumps(line | {"image": "b.png"}))
    assert edge_inside("data", "validate", tmp_path / "t.jsonl").returncode == 1


def test_missing_packages_are_named_with_a_command_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a clone, from inside it and from elsewhere, and without one."""
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    monkeypatch.chdir(ROOT)
    with pytest.raises(EdgeError) as caught:
        need("onnxruntime_qnn", "qnn")
    assert caught.value.remedy == "run: pip install -e '.[qnn]'"
    monkeypatch.chdir(tmp_path)
    assert versions.install_command("qnn") == f"pip install -e '{ROOT}[qnn]'"
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    assert versions.install_command("qnn") == "pip install 'phantom-edge[qnn]'"


@pytest.mark.skipif(sys.platform == "darwin", reason="on a Mac, Core ML itself runs its packages")
def test_no_interpreter_is_timed(tmp_path: Path) -> None:
    """The bundle's target alone decides, before anything of it is loaded."""
    stand_ins = {name: target.stand_in() for name, target in TARGETS.items()}
    assert stand_ins["coreml"] and stand_ins["coreai"] and not stand_ins["onnx"] and not stand_ins["executorch"]
    for name, place in (("onnx-int8-cache", tmp_path / "onnx"), ("coreml-17", tmp_path / "apple")):
        place.mkdir()
        shutil.copy(ROOT / "tests/golden/manifests_v1" / f"{name}.json", place / MANIFEST)
    check_runtime(Bundle(tmp_path / "onnx", read_manifest(tmp_path / "onnx")))
    with pytest.raises(EdgeError, match=r"an interpreter of Core ML's programs runs .*apple here") as caught:
        check_runtime(Bundle(tmp_path / "apple", read_manifest(tmp_path / "apple")))
    assert "--device ssh://USER@HOST or --device ios:UDID/APP" in caught.value.remedy

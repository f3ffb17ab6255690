"""``phantom-edge eval`` as a person or a script meets it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from benchmark_folders import make_mmbench, make_pope
from command_line import COMMAND, document, edge, edge_inside, refusal
from noise import noise
from PIL import Image

from phantom_edge.convert.random import write_random
from phantom_edge.data.triples import Triple
from phantom_edge.models.sizes import SIZES


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval") / "tiny"
    write_random(SIZES["tiny"], folder, eta=1.0)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 pictures, of which two are missing, with three questions each."""
    folder = tmp_path_factory.mktemp("data")
    lines = []
    for number in range(12):
        name = f"{number}.png"
        if number < 10:
            noise((224, 224), 10 + 5 * number).save(folder / name)
        lines += [
            Triple("Is there a dial?", "yes" if number % 3 else "no", ("maybe",), (name,), "existence"),
            Triple("How many?", "3", ("4",), (name,), "count"),
            Triple("Describe the picture briefly.", "a red star and a dial", ("a card",), (name,), "describe"),
        ]
    (folder / "d.jsonl").write_text("".join(line.to_json() + "\n" for line in lines))
    return folder / "d.jsonl"


def test_the_report_and_its_files_agree(tiny: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = document(
        "eval", str(tiny), "--data", str(data), "--out", str(out), "--max-new-tokens", "4", "--dtype", "fp32"
    )
    assert json.loads((out / "report.json").read_text()) == report
    assert (report["questions"], report["questions_without_picture"]) == (30, 6)
    assert report["overall"]["pictures"] == 10 and list(report["kinds"]) == ["existence", "count", "describe"]
    assert report["kinds"]["existence"]["chance"] == 0.6 and report["kinds"]["count"]["chance"] == 1.0
    assert "yes_no" in report["kinds"]["existence"] and "named" in report["kinds"]["describe"]
    assert report["settings"]["dtype"] == "float32" and report["settings"]["max_new_tokens"] == 4
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 30 and sum(line["right"] for line in lines) == report["overall"]["right"]
    for line in lines[:3]:
        asked = document(
            "run", "-m", str(tiny), "-i", line["image"][0], "--max-new-tokens", "4", "--dtype", "fp32", line["question"]
        )
        assert asked["text"] == line["answer"]
    with Image.open(out / "chart.png") as chart:
        assert chart.format == "PNG" and chart.width > 500
    assert edge_inside("eval", tiny, "--data", data, "--out", out).returncode == 1
    again = edge_inside("eval", tiny, "--data", data, "--out", out, "--force", "--max-new-tokens", 1)
    assert again.returncode == 0 and json.loads((out / "report.json").read_text())["settings"]["max_new_tokens"] == 1


def test_table_on_stdout_and_the_rest_on_stderr(tiny: Path, data: Path) -> None:
    done = edge(
        "eval", str(tiny), "-d", str(data), "--max-new-tokens", "1", "--kinds", "count, existence", "--limit", "5"
    )
    stdout, stderr = done.stdout, done.stderr
    assert done.returncode == 0, stderr
    assert "95 % interval" in stdout and "chance" in stdout and "existence" in stdout and "describe" not in stdout
    assert "6 questions left out" in stderr and "F1" in stderr and "6 questions in" in stderr  # three whole pictures


def test_a_benchmark(tiny: Path, tmp_path: Path) -> None:
    for make, name, questions in ((make_pope, "pope", 12), (make_mmbench, "mmbench", 3)):
        make(tmp_path)
        report = document("eval", str(tiny), "--benchmark", name, "--data", str(tmp_path))
        assert report["questions"] == questions and report["settings"]["max_new_tokens"] == 5
        assert report["data"].startswith(f"{name} in ")


def test_bad_input_is_one_line_and_exit_1(tiny: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text('{"question": "q"}\n')
    (tmp_path / "lost.jsonl").write_text(Triple("q", "a", (), ("none.png",)).to_json() + "\n")
    (tmp_path / "page.jsonl").write_text(Triple("q", "a", (), ("page.png",)).to_json() + "\n")
    (tmp_path / "page.png").write_bytes(b"<html>")
    good = ("eval", str(tiny), "--data", str(data))
    out = tmp_path / "out"
    for arguments, message in (
        (("eval", str(tiny), "--data", str(tmp_path / "none.jsonl")), "there is no file"),
        (("eval", str(tiny), "--data", str(tmp_path)), "is a folder"),
        (("eval", str(tiny), "--data", str(tmp_path / "empty.jsonl")), "holds no question"),
        (("eval", str(tiny), "--data", str(tmp_path / "broken.jsonl")), "line 1 lacks question or chosen"),
        (("eval", str(tiny), "--data", str(tmp_path / "lost.jsonl")), "every picture of"),
        (("eval", str(tiny), "--data", str(tmp_path / "page.jsonl"), "--out", str(out)), "page.png is not a picture"),
        (("eval", str(tmp_path / "none"), "--data", str(data), "--out", str(out)), "there is no folder"),
        (("eval", str(tmp_path), "--data", str(data)), "config.json"),
        ((*good, "--kinds", "colour"), "there is no kind colour"),
        ((*good, "--kinds", ","), "--kinds names no kind"),
        ((*good, "--batch", "0"), "--batch is 0"),
        ((*good, "--max-new-tokens", "0"), "--max-new-tokens is 0"),
        ((*good, "--benchmark", "mmmu"), "there is no benchmark 'mmmu'"),
        ((*good, "--benchmark", "pope"), "there is no folder"),
        (("eval", str(tiny), "--data", str(tmp_path), "--benchmark", "ai2d"), "there is no file"),
        ((*good, "--out", str(tmp_path), "--force"), "holds other things"),
    ):
        assert message in refusal(edge_inside(*arguments), arguments)
        assert not out.exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_leaves_nothing(tiny: Path, data: Path, tmp_path: Path) -> None:
    arguments = ("eval", str(tiny), "--data", str(data), "--batch", "1", "--max-new-tokens", "3000")
    with subprocess.Popen(
        [*COMMAND, *arguments, "--out", str(tmp_path / "out")], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.partial*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(8)  # the model is loaded and answers
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stopped" in stderr and b"Traceback" not in stderr and not stdout
    assert list(tmp_path.iterdir()) == []

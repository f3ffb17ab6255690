"""The command line as a person or a script meets it: in processes of its own, where the process is the point."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from command_line import COMMAND, ROOT, document, edge, edge_inside, refusal
from noise import noise
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from phantom_edge.cli.console import UNSEEN, print_json, visible
from phantom_edge.cli.main import app
from phantom_edge.convert.random import write_random
from phantom_edge.models.sizes import SIZES


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "tiny"
    write_random(SIZES["tiny"], folder)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "a.png"
    noise((150, 90), 70).save(path)
    return path


def commands_below(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands_below(inner, (*words, name))


def test_every_command_has_help() -> None:
    """And none has brackets that rich takes for its own."""
    found = list(commands_below(typer.main.get_command(app)))
    assert len(found) > 20
    for words in found:
        ran = CliRunner().invoke(app, [*words, "--help"])
        assert ran.exit_code == 0 and "Usage" in ran.stdout, (words, ran.exception)


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom phantom_edge.cli.main import app\nfrom typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(app, ['models']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'PIL'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version_and_usage() -> None:
    assert re.fullmatch(r"phantom-edge \d+\.\d+\.\d+\n", edge("--version").stdout)
    for wrong in (
        ["nonsense"],
        ["models", "--wat"],
        ["init", "tiny"],
        ["init", "tiny", "x", "--dtype", "int3"],
        ["run"],
    ):
        done = edge_inside(*wrong)
        assert done.returncode == 2 and "Usage" in done.stderr and not done.stdout, wrong


def test_models() -> None:
    sizes = {size["name"]: size for size in document("models")["models"]}
    assert set(sizes) == set(SIZES)
    assert sizes["7b"]["parameters_total"] == sum(SIZES["7b"].parameters().values())
    table = edge("models").stdout
    assert all(name in table for name in SIZES) and "KB" in table and "MB" in table


def test_doctor() -> None:
    report = document("doctor")
    assert report["ok"] is True
    found = {(package["extra"], package["name"]) for package in report["packages"]}
    assert found >= {("core", "typer"), ("model", "torch"), ("ort", "onnxruntime"), ("export", "onnx")}
    assert found >= {("export", "torch"), ("qnn", "onnxruntime"), ("train", "transformers")}  # by way of other extras
    assert ("core", "torch") not in found
    assert "making bundles" in edge("doctor").stdout


def test_doctor_tells_a_broken_core() -> None:
    code = (
        "from importlib import metadata\nreal = metadata.version\n"
        "def version(name):\n    if name == 'wrapt': raise metadata.PackageNotFoundError(name)\n    return real(name)\n"
        "metadata.version = version\nimport sys; sys.argv = ['phantom-edge', 'doctor']\n"
        "from phantom_edge.cli.start import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and re.search(r"wrapt.*missing", done.stdout)
    assert "run: pip install 'wrapt<3,>=2.1'" in done.stderr


ABSENT, TORN = "ModuleNotFoundError(\"No module named 'X'\", name='X')", "ImportError('torn')"
BROKEN = {"wrapt": ABSENT, "rich": TORN, "typer": ABSENT, "packaging": TORN, "torch": ABSENT}
"""Packages, and the fault of each in short tests: two runs of doctor, which imports all packages anew, take a while."""


@pytest.mark.parametrize(
    ("package", "fault"),
    [
        pytest.param(package, fault, marks=() if fault == short else pytest.mark.long)
        for package, short in BROKEN.items()
        for fault in (ABSENT, TORN)
    ],
)
def test_doctor_where_a_package_does_not_import(package: str, fault: str, tmp_path: Path) -> None:
    """In every process, its children too. ``packaging`` is needed by transformers as well."""
    (tmp_path / f"{package}.py").write_text(f"raise {fault.replace('X', package)}\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    arguments = {"capture_output": True, "text": True, "check": False, "env": {**os.environ, "PYTHONPATH": path}}
    done = subprocess.run([*COMMAND, "doctor", "--json"], **arguments)
    report = json.loads(done.stdout)
    looked_at = {p["name"]: p for p in report["packages"] if p["extra"] in ("core", "model")}
    broken = {name: p["fault"] for name, p in looked_at.items() if p["state"] == "broken"}
    assert done.returncode == 1 and report["ok"] is False
    assert broken and any(package in fault or "torn" in fault for fault in broken.values())
    assert looked_at.keys() > {"torch", "rich", "wrapt", "typer"}
    told = subprocess.run([*COMMAND, "doctor"], **arguments)
    assert told.returncode == 1 and package in told.stderr and "run: pip install" in told.stderr
    assert "Traceback" not in told.stderr + done.stderr
    if package in ("rich", "typer"):
        other = subprocess.run([*COMMAND, "models"], **arguments)
        assert other.returncode == 1 and other.stderr.endswith("run: phantom-edge doctor\n") and not other.stdout


def test_doctor_from_sources_alone() -> None:
    code = (
        "from importlib import metadata\ndef version(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\nimport sys; sys.argv = ['phantom-edge', 'doctor']\n"
        "from phantom_edge.cli.start import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "run: pip install -e ." in done.stderr


def test_init_run_and_convert(tmp_path: Path, picture: Path) -> None:
    written = document("init", "tiny", str(tmp_path / "t"), "--random", "--dtype", "bf16", "--seed", "4")
    assert set(written["files"]) >= {"config.json", "model.safetensors", "tokenizer.json", "processor_config.json"}
    answer = document("run", "--model", str(tmp_path / "t"), "--image", str(picture), "--max-new-tokens", "6", "what?")
    assert answer["tokens"] == 6 and answer["text"] and answer["stopped_by"] == "length"
    document("convert", str(tmp_path / "t"), str(tmp_path / "official"))
    again = document(
        "run", "--model", str(tmp_path / "official"), "--image", str(picture), "--max-new-tokens", "6", "what?"
    )
    assert again["text"] == answer["text"]


def test_answer_on_stdout_and_the_rest_on_stderr(tiny: Path, picture: Path) -> None:
    arguments = ("run", "--model", str(tiny), "--max-new-tokens", "5", "what?")
    from_file = edge_inside(*arguments, "--image", picture)
    from_stdin = edge(*arguments, "--image", "-", stdin=picture.read_bytes())
    text_only = edge_inside(*arguments)
    assert from_file.returncode == from_stdin.returncode == text_only.returncode == 0
    assert from_file.stdout == from_stdin.stdout != text_only.stdout
    assert "tokens" in from_stdin.stderr and "tokens" not in from_stdin.stdout
    assert document(*arguments)["text"] == text_only.stdout.removesuffix("\n")


def images(folder: Path) -> dict[str, bytes]:
    png = io.BytesIO()
    noise((64, 48), 70).save(png, "PNG")
    return {
        "empty.png": b"",
        "page.jpg": b"<html>404 not found</html>",
        "cut.png": png.getvalue()[: len(png.getvalue()) // 2],
    }


def test_bad_input_is_one_line_and_exit_1(tiny: Path, tmp_path: Path, picture: Path) -> None:
    for name, content in images(tmp_path).items():
        (tmp_path / name).write_bytes(content)
    nan = tmp_path / "nan"
    write_random(SIZES["tiny"], nan)
    weights = load_file(nan / "model.safetensors")
    weights["lm_head.weight"] = torch.full_like(weights["lm_head.weight"], torch.nan)
    save_file(weights, nan / "model.safetensors")
    without_tokenizer = tmp_path / "no-tokenizer"
    write_random(SIZES["tiny"], without_tokenizer)
    (without_tokenizer / "tokenizer.json").unlink()
    for name in ("tokenizer_config.json", "generation_config.json"):
        write_random(SIZES["tiny"], tmp_path / name)
        (tmp_path / name / name).write_text('{"x":')
    ask = ("run", "--model", str(tiny), "--max-new-tokens", "2")
    for arguments, message in (
        (("run", "--model", str(tmp_path / "none"), "hi"), "there is no folder"),
        (("run", "--model", str(picture), "hi"), "is a file"),
        (("run", "--model", str(tmp_path), "hi"), "config.json"),
        (("run", "--model", str(nan), "hi"), "lm_head.weight holds NaN"),
        (("run", "--model", str(without_tokenizer), "hi"), "no tokenizer"),
        (
            ("run", "--model", str(tmp_path / "tokenizer_config.json"), "hi"),
            "tokenizer_config.json is not readable JSON",
        ),
        (("run", "--model", str(tmp_path / "generation_config.json"), "hi"), "generation_config.json is not readable"),
        ((*ask, ""), "the question is empty"),
        ((*ask, "--image", str(tmp_path / "none.png"), "hi"), "none.png"),
        ((*ask, "--image", str(tmp_path / "empty.png"), "hi"), "empty"),
        ((*ask, "--image", str(tmp_path / "page.jpg"), "hi"), "not a picture"),
        ((*ask, "--image", str(tmp_path / "cut.png"), "hi"), "cut.png"),
        ((*ask, "--image", str(tmp_path), "hi"), "folder"),
        ((*ask, "--image", "-", "hi"), "empty"),
        ((*ask, "<image> what?"), "1 <image> marks"),
        ((*ask, "say <IMG_CONTEXT>"), "reserved token"),
        ((*ask, "--temperature", "-1", "hi"), "--temperature"),
        ((*ask, "--temperature", "1e-45", "hi"), "--temperature is 1e-45"),
        ((*ask, "--beams", "0", "hi"), "--beams"),
        ((*ask, "--seed", str(2**64), "hi"), f"--seed is {2**64}"),
        ((*ask, "--seed", "-1", "hi"), "--seed is -1"),
        ((*ask, b"h\xff\xfei"), r"an argument is not UTF-8: 'h\udcff\udcfei'"),
        ((*ask, "--image", b"\xff.png", "hi"), "an argument is not UTF-8"),
        ((*ask, "--json", "--image", str(tmp_path / "none.png"), "hi"), "none.png"),
        (("run", "--model", "", "hi"), "no phantom.json and no config.json"),
        (("init", "tiny", "a" * 300, "--random"), "File name too long"),
        (("init", "tiny", b"x\xff", "--random"), "an argument is not UTF-8"),
        (("init", "9b", str(tmp_path / "x"), "--random"), "size '9b' is not one of"),
        (("init", "tiny", str(tmp_path / "x")), "needs --random to confirm that"),
        (("init", "tiny", str(tiny), "--random"), "exists already"),
        (("init", "tiny", str(picture), "--random", "--force"), "is a file, not a folder"),
        (("init", "tiny", str(picture / "sub"), "--random"), "cannot write"),
        (("convert", str(tmp_path / "none"), str(tmp_path / "x")), "there is no folder"),
        (("convert", str(tiny), str(tiny)), "exists already"),
        (("convert", str(nan), str(tmp_path / "x")), "NaN"),
    ):
        assert message in refusal(edge_inside(*arguments), arguments)
        assert not (tmp_path / "x").exists()
    assert "there is no folder" in refusal(edge("run", "--model", str(tmp_path / "none"), "hi"), "a process of its own")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Stopped in the middle of writing a large checkpoint: one line, exit 130, no half-written folder."""
    with subprocess.Popen(
        [*COMMAND, "init", "1.8b", str(tmp_path / "out"), "--random"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out.partial*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and b"stopped" in stderr and b"Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


def start(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *arguments], **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams)


@pytest.mark.parametrize(
    "arguments",
    [("run", "--max-new-tokens", "400", "hi"), ("models",), ("models", "--json"), ("--help",)],
    ids=" ".join,
)
def test_a_closed_pipe_is_no_error_message(tiny: Path, arguments: tuple[str, ...]) -> None:
    with start(*_with_model(arguments, tiny)) as process:
        assert process.stdout is not None and process.stderr is not None
        if arguments[0] == "run":
            process.stdout.read(1)
        process.stdout.close()
        stderr = process.stderr.read()
        assert process.wait(timeout=60) == 1
    assert b"Traceback" not in stderr and b"Exception" not in stderr and b"error" not in stderr


def _with_model(arguments: tuple[str, ...], model: Path) -> list[str]:
    more = ["--model", str(model)] if arguments[0] == "run" else []
    return [arguments[0], *more, *arguments[1:]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--max-new-tokens", "4", "hi"),
        pytest.param(("run", "--json", "hi"), marks=pytest.mark.long),
        ("models",),
        ("models", "--json"),
        ("--version",),
    ],
    ids=" ".join,
)
def test_a_full_disk_behind_stdout(tiny: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full, start(*_with_model(arguments, tiny), stdout=full) as process:
        _, stderr = process.communicate(timeout=60)
    lines = stderr.decode().removeprefix("loading torch ...\n").splitlines()
    assert process.returncode == 1
    assert lines == [
        "error: the result cannot be written: No space left on device",
        "  send stdout to a place with room",
    ]


@pytest.mark.skipif(os.name != "posix", reason="closes file descriptors")
def test_closed_streams(tiny: Path) -> None:
    """As `>&-`, `2>&-` and `<&-` in a shell do it."""
    ask = f"run --model {tiny} --max-new-tokens 2"

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        command = " ".join(map(shlex.quote, COMMAND))
        return subprocess.run(f"{command} {line}", shell=True, capture_output=True, text=True, check=False, cwd=ROOT)

    done = shell("models >&-")
    assert done.returncode == 1 and done.stderr.startswith("error: stdout is closed")
    done = shell(f"{ask} hi 2>&-")
    assert done.returncode == 0 and done.stdout
    done = shell(f"{ask} hi --image none.png 2>&-")
    assert done.returncode == 1 and not done.stdout
    done = shell(f"{ask} hi --image - <&-")
    assert done.returncode == 1 and "stdin, which is closed" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [(), pytest.param(("--json",), marks=pytest.mark.long)])
def test_letters_that_the_terminal_lacks(more: tuple[str, ...], tiny: Path) -> None:
    arguments = ("run", "--model", str(tiny), "--max-new-tokens", "40", "hi")
    plain = edge_inside(*arguments).stdout
    assert plain and not plain.isascii()
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    with start(*arguments, *more, env=environment) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert stdout.isascii()
    assert not more or json.loads(stdout)["text"] == plain.removesuffix("\n")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_while_streaming(tiny: Path) -> None:
    with start("run", "--model", str(tiny), "--max-new-tokens", "4000", "hi") as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.decode().splitlines()[-1].startswith("stopped; ") and b"Traceback" not in stderr


@pytest.mark.skipif(os.name != "posix", reason="removes the folder that a process is in")
def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    command = " ".join(map(shlex.quote, COMMAND))
    line = f"rmdir ../x; PYTHONPATH={shlex.quote(str(ROOT))} {command} models"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False, cwd=tmp_path / "x")
    assert done.returncode == 1 and done.stderr.startswith("error: the current folder no longer exists")


def test_a_repaired_copy_never_replaces_the_file_through_a_link(tmp_path: Path) -> None:
    file = tmp_path / "triples.jsonl"
    file.write_text("broken\n")
    (tmp_path / "link").symlink_to(file)
    done = edge("data", "validate", str(tmp_path / "link"), "--repaired", str(file))
    assert done.returncode == 1 and "would replace the file itself" in done.stderr
    assert file.read_text() == "broken\n"


def test_a_picture_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no shell has replaced the tilde, as in ``--image=~/a.png``."""
    monkeypatch.setenv("HOME", str(tmp_path))
    done = edge_inside("run", "--image=~/none.png", "what?")
    assert f"{tmp_path}/none.png does not exist" in refusal(done, "a tilde")


OBEYED: dict[str, str] = {
    "colour": "a\x1b[31mb",
    "a new line": "a\nerror: all is lost",
    "a return": "a\rerror",
    "eight bits": "a\x9b31mb",
    "turned text": "a\u202egnp.exe",
    "a bell": "a\x07",
    "a link": "a\x1b]8;;http://x\x07b",
}


@pytest.mark.parametrize("name", OBEYED)
def test_words_of_others_are_shown_and_not_obeyed(name: str) -> None:
    """In errors, in JSON and in tables; and a name with a new line forges no line of ours."""
    text = OBEYED[name]
    done = edge_inside("run", "--image", f"/nowhere/{text}.png", "what?")
    assert done.returncode == 1
    assert refusal(done, name).startswith("error: /nowhere/a") and UNSEEN.search(done.stderr.replace("\n", "")) is None
    assert UNSEEN.search(visible(text)) is None and visible(text).isprintable()
    assert visible("a\tb\nc", "\t\n") == "a\tb\nc"


def test_json_shows_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    """And means the same."""
    document = {"text": "".join(OBEYED.values()), "more": ["\x7f", "plain é"]}
    print_json(document)
    printed = capsys.readouterr().out
    assert json.loads(printed) == document and UNSEEN.search(printed.replace("\n", "")) is None

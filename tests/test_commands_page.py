"""docs/commands.md: the screens are today's, fit 80 columns, and say what they mean in one form."""

import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from phantom_edge.cli.main import app

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SCREENS = re.findall(r"```text\n\$ phantom-edge([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
HELPS = {words.removesuffix(" --help").strip(): text for words, text in SCREENS if words.endswith("--help")}


def options(text: str) -> dict[str, str]:
    """The cell of every long flag in a help, with its short form and value."""
    return {flag: line for line in text.splitlines() for flag in re.findall(r"^│[ *]{1,4}(--[a-z0-9-]+)", line)}


def test_the_page_is_up_to_date() -> None:
    command = [sys.executable, ROOT / "scripts" / "commands.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_a_screen() -> None:
    assert {"", "run", "export", "plan", "data scenes", "train po", "history compare"} <= HELPS.keys()
    assert len(HELPS) > 20


def test_frames_fit_and_nothing_is_cut() -> None:
    """Only a command to paste, or a note, may be longer than the terminal: it is not broken for a screen's sake."""
    for words, text in SCREENS:
        assert "…" not in text, words
        framed = [line for line in text.splitlines() if line[:1] in "│┃┏┡└╭╰"]
        assert framed or words.startswith(" export"), words
        assert not [line for line in framed if len(line) > 80], words


def test_values_have_one_form() -> None:
    """N, X, TEXT, PATH, or choices in a row: neither Python's types nor angle brackets."""
    for words, text in HELPS.items():
        assert not re.search(r"<(str|int|float|bool|path|list|file)\b|\bint range\b|Path\]", text), words
        for flag, line in options(text).items():
            cell = re.split(r"\s{2,}", line.split(flag, 1)[1].strip(" │"))
            assert cell, (words, flag)
    assert "--mix                   TEXT ...  " in HELPS["data scenes"] and "blank: empty" in HELPS["data scenes"]


def test_out_is_short_everywhere_and_force_names_what_it_replaces() -> None:
    found = {words: options(text) for words, text in HELPS.items()}
    writing = {words for words, flags in found.items() if "--out" in flags}
    assert {"init", "convert", "quantize", "mix", "export", "eval", "data scenes", "train nano", "report"} <= writing
    assert not [words for words in writing if " -o " not in found[words]["--out"]]
    for words, flags in found.items():
        if "--force" in flags:
            assert re.search(r"--force\s+(Replace|Overwrite) \w+", flags["--force"]), (words, flags["--force"])


def test_a_target_has_a_panel_of_its_own() -> None:
    for name in ("onnx", "coreml", "executorch", "jetson", "qnn", "web", "litert"):
        assert f"─ Target {name}: " in HELPS["export"]


def test_the_place_of_out_is_still_taken() -> None:
    """Earlier releases took it as an argument; neither, and both, are refused with the usage."""
    for words in (["init", "nano", "--random"], ["init", "nano", "a", "--out", "b", "--random"]):
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 2 and "give it once, as --out" in " ".join(ran.output.split()), words

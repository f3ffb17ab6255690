"""Words beside tables: they wrap between words where there is a width, and a command to paste stays whole."""

import pytest
from command_line import edge_inside
from hypothesis import given
from hypothesis import strategies as st

from phantom_edge.cli.console import megabytes, wrapped
from phantom_edge.cli.doctor import _once, _range, _state
from phantom_edge.cli.installed import Package

WORDS = st.lists(st.text("abcdefgh.,;", min_size=1, max_size=16), min_size=1, max_size=30).map(" ".join)
COMMANDS = (
    "phantom-edge run --model a --image b.jpg 'What is this?'",
    "pip install -e '.[export]'",
    "python3 runner.py",
)


@given(WORDS, st.integers(18, 90))
def test_words_stay_whole_and_lines_fit(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert " ".join(lines) == text and max(map(len, lines)) <= width
    assert wrapped(text, None) == [text]


@given(WORDS, st.sampled_from(COMMANDS), st.integers(18, 90))
def test_a_command_to_paste_is_one_piece(text: str, command: str, width: int) -> None:
    lines = wrapped(f"{text}; run: {command}", width)
    assert lines[-1].endswith(command) and " ".join(lines) == f"{text}; run: {command}"
    assert all(len(line) <= width for line in lines if line != command)


def test_words_go_on_behind_a_command() -> None:
    lines = wrapped("train one: phantom-edge train draft --out somewhere; or leave --draft out", 30)
    assert lines == ["train one:", "phantom-edge train draft --out somewhere;", "or leave --draft out"]
    assert wrapped("phantom-edge 0.1.0 is here, and so on and on", 30)[0] == "phantom-edge 0.1.0 is here,"


def test_lines_of_the_text_and_its_indent_are_kept() -> None:
    assert wrapped("one\ntwo two", 80) == ["one", "two two"]
    assert wrapped("  set in and long", 8) == ["  set in", "and long"]
    assert wrapped("", 80) == []


def test_an_error_fits_a_narrow_terminal_and_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("run", "--model", "nano-onxn", "What is it?")
    problem, remedy = edge_inside(*words).stderr.splitlines()
    monkeypatch.setenv("COLUMNS", "40")
    first, *rest = edge_inside(*words).stderr.splitlines()
    assert first == problem == "error: there is no folder nano-onxn"
    assert len(rest) > 1 and all(line.startswith("  ") and len(line) <= 40 for line in rest)
    assert " ".join(line.strip() for line in rest) == remedy.strip()


def test_a_small_file_is_no_empty_one() -> None:
    assert [megabytes(size) for size in (0, 1, 4_999, 5_000, 1_234_567_890)] == [
        *("0.00", "<0.01", "<0.01", "0.01"),
        "1,234.57",
    ]


def packages(onnx: str | None, plugin: str | None) -> list[Package]:
    """What the qnn target needs, with these two in these versions."""
    found = [Package("ort", "onnxruntime", "<2,>=1", "1.5", True), Package("export", "onnx", "", onnx, True)]
    return [*found, Package("qnn", "onnxruntime-qnn", "", plugin, True), Package("qnn", "onnxruntime", "<2,>=1", "1.5")]


def test_doctor_says_what_exporting_lacks_beside_the_own_extra() -> None:
    assert _state("qnn", packages("1", "1")) == ("ready", "-")
    state, missing = _state("qnn", packages(None, "1"))
    assert state.startswith("bundles run; to export, run: pip install") and "[export]" in state and missing == "onnx"
    state, missing = _state("qnn", packages(None, None))
    assert state.startswith("run: pip install") and "[export,qnn]" in state and missing == "onnx, onnxruntime-qnn"
    assert _state("ort", packages(None, None)) == ("ready", "-")


def test_doctor_shows_a_package_once() -> None:
    assert [(one.extra, one.name) for one in _once(packages(None, None))] == [
        ("ort", "onnxruntime"),
        ("export", "onnx"),
        ("qnn", "onnxruntime-qnn"),
    ]
    assert [_range(wanted) for wanted in ("<4,>=3.1.6", "==1", "")] == [">=3.1.6, <4", "==1", "-"]

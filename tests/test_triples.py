"""Data files: read line by line, faults named by line, and a repaired copy that has none."""

import json
import string
from pathlib import Path

import pytest
from command_line import document, edge
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.data.triples import Triple, parse_line, read_triples
from phantom_edge.data.validate import validate
from phantom_edge.foundation.errors import EdgeError

text = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)


@settings(max_examples=200, deadline=None)
@given(question=text, chosen=text, rejected=st.lists(text, max_size=3), images=st.lists(text, max_size=2), kind=text)
def test_lines_round_trip(question: str, chosen: str, rejected: list[str], images: list[str], kind: str) -> None:
    triple = Triple(question, chosen, tuple(rejected), tuple(images), kind)
    line = triple.to_json()
    assert "\n" not in line and parse_line(line) == triple


@settings(max_examples=300, deadline=None)
@given(
    line=st.one_of(
        st.text(alphabet=string.printable, max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["image", "question", "chosen", "rejected", "x"]), inner, max_size=5)
            ),
        ).map(json.dumps),
    )
)
def test_any_line_is_a_triple_or_a_clear_fault(line: str) -> None:
    try:
        assert isinstance(parse_line(line), Triple)
    except ValueError as error:
        assert str(error).startswith(("is not", "has a", "lacks"))


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    good = {"image": "a.png", "question": "what?", "chosen": "red", "rejected": ["blue"]}
    lines = [
        good,
        "{not json",
        ["a list"],
        {"question": "no answer"},
        {**good, "rejected": 5},
        {**good, "image": "none.png"},
        {**good, "image": "broken.png"},
        {**good, "rejected": ["Red ", "green"]},
        {**good, "rejected": "red"},
        {**good, "chosen": " "},
        {**good, "question": "Is the hat really red?"},
        {**good, "question": "Is it red or blue?"},  # a choice between both is no leak
        {"question": "text only?", "chosen": "yes", "rejected": "no", "kind": "k"},
        {**good, "question": "\ud83d?"},  # written as an escape, it is half a character
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n\n")
    return path


def test_every_fault_by_line(bad_file: Path, tmp_path: Path) -> None:
    report = validate(bad_file, tmp_path / "fixed.jsonl")
    assert (report.lines, report.good) == (14, 3)
    assert {fault: lines for fault, lines in report.examples.items()} == {
        "a line that is not JSON (Expecting property name enclosed in double quotes)": [2],
        "a line that is not a JSON object": [3],
        "a line that lacks question or chosen": [4],
        "a line that has a rejected that is neither a text nor a list of texts": [5],
        "a picture that is missing": [6],
        "a picture that cannot be read": [7],
        "a rejected answer that equals the chosen one": [8, 9],
        "an empty question or answer": [10],
        "a question that contains its answer": [11],
        "a line that has a text with half a character (a lone surrogate)": [14],
    }
    fixed = list(read_triples(tmp_path / "fixed.jsonl"))
    assert [triple.rejected for triple in fixed] == [("blue",), ("green",), ("blue",), ("no",)]
    again = validate(tmp_path / "fixed.jsonl")
    assert again.good == again.lines == 4 and not again.faults
    with pytest.raises(EdgeError, match="line 2 is not JSON"):
        list(read_triples(bad_file))


def test_skewed_lengths(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(Triple("q?", "a very long and careful answer", ("no",)).to_json() + "\n")
    report = validate(path)
    assert report.is_skewed and report.length_skew == 15


def test_on_the_command_line(bad_file: Path, tmp_path: Path) -> None:
    done = edge("data", "validate", str(bad_file), "--repaired", str(tmp_path / "fixed.jsonl"))
    assert done.returncode == 1 and "a picture that is missing" in done.stdout
    assert document("data", "validate", str(tmp_path / "fixed.jsonl"))["good"] == 4
    for wrong, message in (
        (("data", "validate", str(tmp_path / "none.jsonl")), "there is no file"),
        (("data", "validate", str(bad_file), "--repaired", str(bad_file)), "replace the file itself"),
        (("data", "validate", str(bad_file), "--repaired", str(tmp_path / "fixed.jsonl")), "exists already"),
        (("data", "validate", str(tmp_path)), "cannot be read"),
        (("data", "scenes", str(tmp_path), "-n", "3"), "exists already"),
        (("data", "scenes", str(tmp_path / "w"), "--size", "448x"), "--size 448x is no size"),
        (("data", "scenes", str(tmp_path / "w"), "--size", "448x224"), "a plain scene is square"),
        (("data", "scenes", str(tmp_path / "w"), "--mix", "wide", "--size", "100"), "cannot have 100x100"),
        (("data", "scenes", str(tmp_path / "w"), "--mix", "fine", "--size", "672x224"), "nothing that only tiles show"),
    ):
        done = edge(*wrong)
        assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr, wrong
    assert not (tmp_path / "w").exists()
    written = document("data", "scenes", str(tmp_path / "s"), "-n", "3", "--size", "56", "--split", "validation")
    assert written["pictures"] == 3 and sum(written["questions"].values()) >= 9
    assert edge("data", "validate", str(tmp_path / "s" / "triples.jsonl")).returncode == 0

"""Benchmarks from tiny folders in their layouts: prompts of the released code, known answers, and broken files."""

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_folders import (
    MAKERS,
    make_ai2d,
    make_chartqa,
    make_mmbench,
    make_mmstar,
    make_pope,
    make_scienceqa,
    mmbench_rows,
    png,
    put,
    put_parquet,
    put_tsv,
    text64,
)
from hypothesis import given
from hypothesis import strategies as st
from noise import noise
from PIL import Image

from phantom_edge.data.examples import Example, with_pictures
from phantom_edge.data.metrics import chosen_letter, letter_match
from phantom_edge.evaluate.benchmarks import BENCHMARKS, MAX_NEW_TOKENS
from phantom_edge.evaluate.benchmarks.prompts import LETTER_SUFFIX, SHORT_SUFFIX, lettered
from phantom_edge.evaluate.scores import score
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.prompt import render

GOLDEN = Path(__file__).parent / "golden"


def read(name: str, root: Path) -> list[Example]:
    return BENCHMARKS[name].read(root)


@pytest.mark.parametrize("arch", ["0_5b", "1_8b", "3_8b", "7b"])
def test_suffixes_are_those_of_the_released_code(arch: str) -> None:
    recorded = json.loads((GOLDEN / f"prompts-{arch}.json").read_text())["make_instruction"]
    style = "phi3" if arch == "3_8b" else "chatml"
    for name, suffix in (("sqa", LETTER_SUFFIX), ("pope", SHORT_SUFFIX), ("chartqa", SHORT_SUFFIX)):
        question = "Describe the image in detail" + suffix
        assert render(style, [{"role": "user", "content": question}], True) == recorded[name]["plain"]


def test_every_benchmark_is_tested() -> None:
    assert set(MAKERS) == set(BENCHMARKS) and MAX_NEW_TOKENS == 5


@pytest.mark.parametrize("name", MAKERS)
def test_perfect_answers_are_right_and_pictures_open(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    examples = read(name, tmp_path)
    assert with_pictures(examples, tmp_path).without_picture == 0
    scores = score(examples, [example.gold for example in examples])
    assert scores.overall.accuracy.value == 1.0
    assert score(examples, ["Z"] * len(examples)).overall.right == (6 if name == "pope" else 0)  # no "no" is a yes
    for example in examples:
        (picture,) = example.images
        Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture).load()


def test_pope(tmp_path: Path) -> None:
    make_pope(tmp_path)
    examples = read("pope", tmp_path)
    assert [e.kind for e in examples] == ["random"] * 4 + ["popular"] * 4 + ["adversarial"] * 4
    picture = tmp_path / "coco2014" / "val2014" / "COCO_val2014_000000000001.jpg"
    question = "Is there a cat in the image?\nAnswer the question using a single word or phrase."
    assert examples[1] == Example(question, "yes", (picture,), "random", "yes or no")
    scores = score(examples, ["Yes, there is.", "Yes.", "no", "There is not."] * 3)
    assert scores.overall.right == 6 and scores.overall.pictures == 2
    assert [part.yes_no and part.yes_no.f1 for part in scores.kinds] == [0.5] * 3


def test_scienceqa(tmp_path: Path) -> None:
    make_scienceqa(tmp_path)
    first, second = read("scienceqa", tmp_path)
    assert first.question == (
        "Look.\nWhich?\nA. red\nB. blue\nC. green\nAnswer with the option's letter from the given choices directly."
    )
    assert (first.gold, first.kind) == ("B", "natural science")
    assert second.question.startswith("\nWhich?") and second.gold == "C"  # an empty hint leaves its line
    assert second.images == (tmp_path / "ScienceQA" / "images" / "test" / "9" / "image.png",)


def test_ai2d(tmp_path: Path) -> None:
    make_ai2d(tmp_path)
    first, second = read("ai2d", tmp_path)
    assert first.question == "What is it?\nA. ears B. nose" + LETTER_SUFFIX and first.gold == "B"
    assert first.images == (tmp_path / "ai2d" / "images" / "0.png",)
    assert second.images == (tmp_path / "ai2d" / "abc_images" / "0.png",) and second.gold == "A"
    assert first.kind != second.kind


def test_chartqa(tmp_path: Path) -> None:
    make_chartqa(tmp_path)
    examples = read("chartqa", tmp_path)
    assert [e.kind for e in examples] == ["augmented", "augmented", "human"]
    assert examples[2].question == "Why?" + SHORT_SUFFIX
    assert score(examples, ["104", "red.", "0.6"]).overall.right == 2
    (tmp_path / "chartqa" / "test" / "test_human.json").unlink()
    assert len(read("chartqa", tmp_path)) == 2


def test_mmbench(tmp_path: Path) -> None:
    make_mmbench(tmp_path)
    first, second, third = read("mmbench", tmp_path)
    assert first.question == "Which?\nA. red\nB. blue" + LETTER_SUFFIX and first.images == (png(1),)
    assert second.question.startswith('A "hint"\twith\na break\nWhich?\nA. red\nB. blue\nC. green\nD. None')
    assert (second.gold, second.kind, second.images) == ("D", "colour", (png(2),))
    assert third.images == second.images  # its cell is the index of that row
    later = tmp_path / "MMBench" / "mmbench_dev_en_20231003.tsv"
    (tmp_path / "MMBench" / "mmbench_dev_20230712.tsv").rename(later)
    assert len(read("mmbench", tmp_path)) == 3


def test_a_large_picture_fits_into_a_cell(tmp_path: Path) -> None:
    picture = io.BytesIO()
    noise((600, 600), 100).save(picture, "PNG")
    before = csv.field_size_limit()
    make_mmbench(tmp_path, image=base64.b64encode(picture.getvalue()).decode())
    assert len(picture.getvalue()) > before and read("mmbench", tmp_path)[0].images == (picture.getvalue(),)
    assert csv.field_size_limit() == before


def test_mmstar(tmp_path: Path) -> None:
    make_mmstar(tmp_path)
    first, _ = read("mmstar", tmp_path)
    assert first.question == "Which?\nOptions: A: red, B: blue" + LETTER_SUFFIX
    assert (first.gold, first.kind, first.images) == ("A", "math", (png(1),))
    put_parquet(
        tmp_path,
        "MMStar/mmstar.parquet",
        {"question": ["q"], "answer": ["C"], "category": ["x"], "image": [{"bytes": png(3), "path": "3.png"}]},
    )
    assert read("mmstar", tmp_path)[0].images == (png(3),)
    (tmp_path / "MMStar" / "mmstar.parquet").unlink()
    row = {"index": "0", "question": "Which?", "A": "red", "B": "blue", "answer": "b", "category": "x"}
    put_tsv(tmp_path, "MMStar/MMStar.tsv", [{**row, "image": "data:image/png;base64," + text64(4)}])
    (from_table,) = read("mmstar", tmp_path)
    assert from_table == Example("Which?\nA. red\nB. blue" + LETTER_SUFFIX, "B", (png(4),), "x", "letter")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        ("B.", "B"),
        ("B. red", "B"),
        ("(B) red", "B"),
        ("B: red", "B"),
        ("Option B", "B"),
        ("The answer is B.", "B"),
        ("\n B\n", "B"),
        ("A cat", None),
        ("Blue", None),
        ("I think B", None),
        ("", None),
        ("ß", None),
    ],
)
def test_chosen_letter(answer: str, letter: str | None) -> None:
    assert chosen_letter(answer) == letter
    assert letter_match(answer, "B") is (letter == "B")


@given(text=st.text(max_size=20), letter=st.sampled_from("ABCDE"))
def test_chosen_letter_of_anything(text: str, letter: str) -> None:
    assert chosen_letter(f"{letter}. {text}") == letter
    found = chosen_letter(text)
    assert found is None or (len(found) == 1 and found.casefold() in text.casefold())


@given(choices=st.lists(st.text(st.characters(exclude_characters="\n"), max_size=5), min_size=1, max_size=8))
def test_choices_keep_their_letters(choices: list[str]) -> None:
    lines = lettered(choices).split("\n")
    assert [line[3:] for line in lines] == choices and [line[:3] for line in lines][:2] == ["A. ", "B. "][: len(lines)]


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("pope", {"label": "maybe"}, "line 4: the label is 'maybe'"),
    ("pope", {"label": None}, "'label' is no text"),
    ("pope", {"image": 3.5, "text": []}, "'text' is no text"),
    ("scienceqa", {"answer": 3}, "the answer is 3, of 3 choices"),
    ("scienceqa", {"answer": "1"}, "7: 'answer' is no whole number"),
    ("scienceqa", {"answer": True}, "'answer' is no whole number"),
    ("scienceqa", {"choices": []}, "'choices' is no list of texts"),
    ("ai2d", {"correctAnswer": -1}, "the answer is -1, of 2"),
    ("ai2d", {"answerTexts": ["a", 1]}, "'answerTexts' is no list of texts"),
    ("chartqa", {"label": ["100"]}, "entry 1: 'label' is no text"),
    ("mmbench", {"answer": "C"}, "row 1: the answer 'C' is none of its choices"),
    ("mmbench", {"answer": ""}, "has no 'answer'"),
    ("mmbench", {"image": "no base64!"}, "'image' is no base64"),
    ("mmbench", {"image": "77777"}, "'image' is no base64"),
    ("mmbench", {"image": ""}, "has no 'image'"),
    ("mmstar", {"answer": "F"}, "none of A, B, C, D"),
    ("mmstar", {"image": b""}, "'image' is no picture"),
    ("mmstar", {"image": 5}, "'image' is no picture"),
    ("mmstar", {"image": {"path": "a.png"}}, "'image' is no picture"),
]


@pytest.mark.parametrize(("name", "changed", "message"), BROKEN)
def test_broken_entries_are_named(name: str, changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path, **changed)
    with pytest.raises(EdgeError) as error:
        read(name, tmp_path)
    assert message in error.value.problem and error.value.remedy


FILES = {
    "pope": "POPE/coco_pope_popular.json",
    "scienceqa": "ScienceQA/problems.json",
    "ai2d": "ai2d/ai2d_test.json",
    "chartqa": "chartqa/test/test_augmented.json",
    "mmbench": "MMBench/mmbench_dev_20230712.tsv",
    "mmstar": "MMStar/mmstar.parquet",
}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b"a\tb\n1\t2\n"])
@pytest.mark.parametrize("name", FILES)
def test_broken_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    put(tmp_path, FILES[name], content)
    with pytest.raises(EdgeError) as error:
        read(name, tmp_path)
    assert Path(FILES[name]).name in error.value.problem


@pytest.mark.parametrize("name", FILES)
def test_absent_files_and_pictures(name: str, tmp_path: Path) -> None:
    MAKERS[name](tmp_path)
    for picture in [*tmp_path.rglob("*.png"), *tmp_path.rglob("*.jpg")]:
        picture.unlink()
    if name not in ("mmbench", "mmstar"):
        with pytest.raises(EdgeError, match=r"every picture of .* is missing"):
            with_pictures(read(name, tmp_path), tmp_path)
    (tmp_path / FILES[name]).unlink()
    with pytest.raises(EdgeError, match="there is no file") as error:
        read(name, tmp_path)
    assert "the folder that holds all benchmarks" in error.value.remedy


@pytest.mark.parametrize("column", ["index", "question", "answer", "category", "image", "A"])
def test_missing_columns(column: str, tmp_path: Path) -> None:
    rows = [{name: cell for name, cell in row.items() if name != column} for row in mmbench_rows()]
    put_tsv(tmp_path, FILES["mmbench"], rows)
    with pytest.raises(EdgeError, match=f"has no column {column}"):
        read("mmbench", tmp_path)
    if column not in ("index", "A"):
        make_mmstar(tmp_path)
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(tmp_path / FILES["mmstar"]).drop_columns([column])
        pyarrow.parquet.write_table(table, tmp_path / FILES["mmstar"])
        with pytest.raises(EdgeError, match=f"has no column {column}"):
            read("mmstar", tmp_path)

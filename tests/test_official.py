"""The released dataset's layout: every documented variant, as a stream, with faults told by entry."""

import io
import json
import tracemalloc
from pathlib import Path

import pytest
from command_line import document, edge, edge_inside
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.data.official import WRONG, read_official
from phantom_edge.data.triples import Triple, read_triples
from phantom_edge.data.validate import validate
from phantom_edge.foundation.errors import EdgeError


def entry(question: str = "<image>\nwhat?", image: str | None = "coco/a.png", answer: object = None, **more) -> dict:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "red", **(answer or {})}]
    return {"id": "1", **({"image": image} if image else {}), "conversations": turns, **more}


def write(path: Path, entries: object) -> Path:
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_answer_in_the_turn_or_beside_it(name: str, tmp_path: Path) -> None:
    entries = [entry(answer={name: "blue"}), entry(**{name: "blue"}), entry(**{name: {"from": "gpt", "value": "blue"}})]
    found = list(read_official(write(tmp_path / "d.json", entries)))
    assert found == [Triple("what?", "red", ("blue",), ("coco/a.png",))] * 3


def test_a_name_that_is_given(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", [entry(answer={"y_minus": ["blue", "green"], "rejected": "no"})])
    assert [triple.rejected for triple in read_official(path, "y_minus")] == [("blue", "green")]
    assert [triple.rejected for triple in read_official(path)] == [("no",)]


def test_marks_and_turns(tmp_path: Path) -> None:
    talk = entry("<image>\none?")
    talk["conversations"] += [{"from": "human", "value": "two?"}, {"from": "gpt", "value": "2", "rejected": "3"}]
    entries = [
        entry("what?\n<image>"),
        entry("what is <image> here?"),
        entry("words alone?", image=None),
        talk,
        entry("<image> or <image>?", image=["a.png", "b.png"], rejected="no"),
        {**entry(), "image": ["a.png"], "id": 7},
    ]
    assert list(read_official(write(tmp_path / "d.json", entries))) == [
        Triple("what?", "red", (), ("coco/a.png",)),
        Triple("what is <image> here?", "red", (), ("coco/a.png",)),
        Triple("words alone?", "red"),
        Triple("one?", "red", (), ("coco/a.png",)),
        Triple("two?", "2", ("3",), ("coco/a.png",)),
        Triple("<image> or <image>?", "red", ("no",), ("a.png", "b.png")),
        Triple("what?", "red", (), ("a.png",)),
    ]


def test_the_same_entries_as_lines(tmp_path: Path) -> None:
    entries = [entry(rejected="blue"), entry("ж?", image=None)]
    listed = list(read_official(write(tmp_path / "d.json", entries)))
    (tmp_path / "d.jsonl").write_text("\n  " + "\n".join(map(json.dumps, entries)) + "\n")
    assert list(read_official(tmp_path / "d.jsonl")) == listed


FAULTY = {
    "is not a JSON object": 5,
    "has no conversations; its fields are question": {"question": "q"},
    "has 1 turns, so one is without its answer": {"conversations": [{"from": "human", "value": "q"}]},
    "has turns from gpt and human, not human and gpt": {
        "conversations": [{"from": "gpt", "value": "q"}, {"from": "human", "value": "q"}]
    },
    "has a turn without text": {"conversations": [{"from": "human"}, {"from": "gpt", "value": "q"}]},
    "has 0 pictures, but not as many <image> marks": entry(image=None),
    "has a image that is neither a text nor a list of texts": entry(image=[5]),
    "has a rejected that is neither a text nor a list of texts": entry(rejected={"text": "no"}),
}


def test_faults_by_entry(tmp_path: Path) -> None:
    path = write(tmp_path / "d.json", [*FAULTY.values(), entry()])
    told: list[tuple[int, str]] = []
    found = list(read_official(path, fault=lambda number, words: told.append((number, words))))
    assert told == list(enumerate(FAULTY, start=1)) and len(found) == 1
    with pytest.raises(EdgeError, match="entry 1 is not a JSON object"):
        list(read_official(path))


@pytest.mark.parametrize("text", ["", "[", "[{]", '[{"a": 1', "nothing", "[1, 2", '{"a": \xff}'])
def test_damaged_files(text: str, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(EdgeError, match=r"damaged or cut short|is not a JSON object|holds nothing"):
        list(read_official(tmp_path / "d.json"))
    with pytest.raises(EdgeError, match="there is no file"):
        list(read_official(tmp_path / "none.json"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entries=st.lists(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["image", "conversations", "from", "value", "rejected", "human", "gpt"]),
                    inner | st.sampled_from(["human", "gpt"]),
                    max_size=4,
                )
            ),
            max_leaves=12,
        ),
        max_size=4,
    )
)
def test_any_entry_is_triples_or_a_clear_fault(entries: list, tmp_path: Path) -> None:
    told: list[int] = []
    list(read_official(write(tmp_path / "d.json", entries), fault=lambda number, _: told.append(number)))
    assert told == sorted(set(told)) and all(1 <= number <= len(entries) for number in told)


def test_a_stream_from_the_first_entry_on(tmp_path: Path) -> None:
    """Memory does not grow with the file, and a broken end does not keep the start from being read."""
    path = tmp_path / "d.json"
    peaks = []
    for number in (2_000, 20_000):
        with path.open("w") as file:
            file.write("[" + json.dumps(entry("x" * 500)))
            for _ in range(number):
                file.write("," + json.dumps(entry("x" * 500)))
        tracemalloc.start()
        with pytest.raises(EdgeError, match="cut short"):  # the list is not closed
            assert sum(1 for _ in read_official(path)) == -1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 and peaks[1] < 2e6, peaks
    assert next(read_official(path)).chosen == "red"


def test_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "coco").mkdir(parents=True)
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    (tmp_path / "data" / "coco" / "a.png").write_bytes(file.getvalue())
    path = write(tmp_path / "data" / "Phantom.json", [entry(rejected="blue"), entry("text?", image=None)])
    out, arguments = tmp_path / "t.jsonl", ("--images", str(tmp_path / "data"), "--out")
    assert document("data", "convert", str(path), *arguments, str(out)) == {
        "file": str(out),
        "triples": 2,
        "with_rejected": 1,
        "with_pictures": 1,
        "left_out": {},
    }
    first, _ = read_triples(out)
    assert first.images == ("data/coco/a.png",)  # below the file, so both can be moved together
    assert validate(out).good == 2
    (tmp_path / "far").mkdir()
    assert edge("data", "convert", str(path), *arguments, str(tmp_path / "far" / "t.jsonl")).returncode == 0
    first, _ = read_triples(tmp_path / "far" / "t.jsonl")
    assert first.images == (str(tmp_path / "data" / "coco" / "a.png"),)
    write(path, [entry(), 5, {"question": "q"}])
    refused = edge_inside("data", "convert", str(path), *arguments, str(out))
    assert refused.returncode == 1 and "exists already" in refused.stderr and validate(out).good == 2
    done = edge("data", "convert", str(path), *arguments, str(out), "--force")
    assert done.returncode == 1
    assert "left out: 1 entries, such as 3: it has no conversations; its fields are question" in done.stderr
    assert "--wrong" in done.stderr and len(list(read_triples(out))) == 1
    path.write_text("[{")
    before = out.read_bytes()
    done = edge("data", "convert", str(path), *arguments, str(out), "--force")
    assert done.returncode == 1 and "damaged or cut short" in done.stderr and "Traceback" not in done.stderr
    assert out.read_bytes() == before and sorted(tmp_path.glob(".*")) == []
    done = edge("data", "convert", str(path), "--out", str(path))
    assert done.returncode == 1 and "would replace the dataset" in done.stderr

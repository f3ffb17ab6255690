"""Triples out of lines, parquet and tars: the same samples whatever holds them, one at a time, faults by place."""

import io
import json
import os
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import document, edge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.data import rows, shards, validate
from phantom_edge.data.rows import Sample
from phantom_edge.data.sources import open_triples, rows_of
from phantom_edge.data.triples import Triple
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.images import open_image


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 9), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


TRIPLES = [
    Triple("what?", "red", ("blue", "green"), ("a.png",), "colour"),
    Triple("text only?", "yes", ("no",)),
    Triple("which differ?", "both", (), ("a.png", "b.png")),
]
CONTENT = {"a.png": png(10), "b.png": png(200)}


def write_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return path


def line_of(triple: Triple) -> dict:
    return json.loads(triple.to_json())


def as_lines(folder: Path) -> Path:
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    path = folder / "t.jsonl"
    path.write_text("".join(triple.to_json() + "\n" for triple in TRIPLES))
    return path


def as_parquet(folder: Path, embedded: str) -> Path:
    """Pictures as the datasets library has them, as bare bytes, or as paths."""
    make = {
        "struct": lambda name: {"bytes": CONTENT[name], "path": name},
        "bytes": lambda name: CONTENT[name],
        "paths": lambda name: name,
    }[embedded]
    table = [
        {
            "question": triple.question,
            "chosen": triple.chosen,
            "rejected": list(triple.rejected) or None,
            "images": [make(name) for name in triple.images] or None,
            "kind": triple.kind or None,
        }
        for triple in TRIPLES
    ]
    path = folder / "t.parquet"
    pq.write_table(pa.Table.from_pylist(table), path)
    return path


def as_tar(folder: Path, named: bool, gz: bool = False) -> Path:
    members = []
    for number, triple in enumerate(TRIPLES):
        entry = line_of(triple)
        names = [f"{number:03d}.{name}" for name in triple.images]
        entry.pop("image", None)
        if named:
            entry["image"] = list(triple.images)
        members += [(f"x/{number:03d}.json", json.dumps(entry).encode())]
        stored = zip(names, triple.images, strict=True)
        members += [(f"x/{name}", CONTENT[short]) for name, short in (reversed([*stored]) if named else stored)]
    return write_tar(folder / ("t.tar.gz" if gz else "t.tar"), members, "w:gz" if gz else "w")


def told(sample: Sample) -> tuple:
    pictures = tuple(open_image(picture).tobytes() for picture in sample.pictures)
    return sample.triple.question, sample.triple.chosen, sample.triple.rejected, sample.triple.kind, pictures


@pytest.mark.parametrize(
    "make",
    [
        as_lines,
        lambda folder: as_parquet(folder, "struct"),
        lambda folder: as_parquet(folder, "bytes"),
        lambda folder: as_lines(folder) and as_parquet(folder, "paths"),
        lambda folder: as_tar(folder, named=False),
        lambda folder: as_tar(folder, named=True),
        lambda folder: as_tar(folder, named=False, gz=True),
    ],
    ids=["lines", "parquet-struct", "parquet-bytes", "parquet-paths", "tar", "tar-named", "tar-gz"],
)
def test_the_same_samples_whatever_holds_them(make, tmp_path: Path) -> None:
    expected = [
        (t.question, t.chosen, t.rejected, t.kind, tuple(open_image(CONTENT[n]).tobytes() for n in t.images))
        for t in TRIPLES
    ]
    path = make(tmp_path)
    assert [told(sample) for sample in open_triples(path)] == expected
    report = validate.validate(path)
    assert (report.lines, report.good, report.faults) == (3, 3, {})


def test_pictures_of_the_datasets_library(tmp_path: Path) -> None:
    """Its own image column, which it would decode by itself."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "chosen": datasets.Value("string")}
    )
    picture = {"bytes": CONTENT["b.png"], "path": None}
    entries = [{"image": picture, "question": "q", "chosen": "c"}, {"image": None, "question": "r", "chosen": "c"}]
    datasets.Dataset.from_list(entries, features=features).to_parquet(str(tmp_path / "t.parquet"))
    for source in (tmp_path / "t.parquet", f"file://{tmp_path}/*.parquet"):  # by Arrow, and as from the hub
        first, second = open_triples(source)
        assert first.pictures == (CONTENT["b.png"],) and second.pictures == ()
    with pytest.raises(EdgeError, match="no address of parquet files"):
        list(open_triples(f"file://{tmp_path}/t.tar"))
    with pytest.raises(EdgeError, match="cannot be read"):
        list(open_triples(f"file://{tmp_path}/none.parquet"))


def test_globs_of_sources_and_of_pictures(tmp_path: Path) -> None:
    for shard, question in (("s-1.tar", "one"), ("s-0.tar", "zero")):
        entry = json.dumps({"question": question, "chosen": "c"}).encode()
        write_tar(tmp_path / shard, [("k.json", entry), ("k.PNG", CONTENT["a.png"]), ("bad.json", b"{")])
    found = list(rows_of(str(tmp_path / "s-*.tar")))
    assert [row.place for row in found] == ["s-0.tar:k", "s-0.tar:bad", "s-1.tar:k", "s-1.tar:bad"]
    assert [row.sample.triple.question for row in found if row.sample] == ["zero", "one"]
    with pytest.raises(EdgeError, match="no file matches"):
        list(rows_of(tmp_path / "none-*.tar"))
    frames = tmp_path / "frames [1]"  # letters of a glob in a folder's name are none
    frames.mkdir()
    for number in (2, 10, 1):
        (frames / f"{number:02d}.png").write_bytes(png(number))
    (frames / "t[0].png").write_bytes(png(99))
    lines = [Triple("q", "c", (), ("0*.png",)), Triple("q", "c", (), ("t[0].png",)), Triple("q", "c", (), ("x*.png",))]
    (frames / "t.jsonl").write_text("".join(triple.to_json() + "\n" for triple in lines))
    named = [[Path(picture).name for picture in sample.pictures] for sample in open_triples(frames / "t.jsonl")]
    assert named == [["01.png", "02.png"], ["t[0].png"], ["x*.png"]]
    assert validate.validate(frames / "t.jsonl").examples == {"a picture that is missing": [3]}


@pytest.mark.parametrize("pattern", ["/**/*.png", "../*.png", "a/../../*.png"])
def test_a_pattern_never_leaves_the_folder_of_its_file(pattern: str, tmp_path: Path) -> None:
    """A file of questions from elsewhere must not make this machine search its disk."""
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"question": "q", "chosen": "c", "image": pattern}))
    (row,) = rows_of(path)
    assert row.sample is None and "leaves the folder" in row.fault
    with pytest.raises(EdgeError, match=r"row 1 names pictures by a pattern that leaves"):
        list(open_triples(path))


def test_a_pattern_of_too_many_pictures(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"question": "q", "chosen": "c", "image": "*.png"}))
    for number in range(rows.MOST_MATCHES):
        (tmp_path / f"{number}.png").touch()
    (row,) = rows_of(path)
    assert row.sample is not None and len(row.sample.pictures) == rows.MOST_MATCHES
    (tmp_path / "one more.png").touch()
    (row,) = rows_of(path)
    assert "more than 256 files" in row.fault


def test_a_small_tar_with_a_member_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that belong to no sample may have any; one that would be read is bounded before it is."""
    monkeypatch.setattr(shards, "LARGEST", 1000)
    row, picture = ("a.json", json.dumps(line_of(TRIPLES[1])).encode()), ("a.png", b"\0" * 1001)
    fine = write_tar(tmp_path / "fine.tar.gz", [row, ("b.npy", b"\0" * 5000)], "w:gz")
    assert [found.sample is not None for found in rows_of(fine)] == [True]
    with pytest.raises(EdgeError, match=r"its a.png has 1,001 bytes, more than 1,000"):
        list(rows_of(write_tar(tmp_path / "large.tar.gz", [row, picture], "w:gz")))


@pytest.mark.parametrize("size", [1001, 10**12, 2**62])
def test_a_tar_whose_sizes_lie(size: int, tmp_path: Path) -> None:
    """A member that is said to have more bytes than the file."""
    about, row = tarfile.TarInfo("a.png"), json.dumps(line_of(TRIPLES[1])).encode()
    about.size = size
    path = write_tar(tmp_path / "t.tar", [("a.json", row)])
    path.write_bytes(path.read_bytes()[:1024] + about.tobuf(tarfile.GNU_FORMAT) + bytes(600))
    with pytest.raises(EdgeError, match=r"t\.tar") as caught:
        list(rows_of(path))
    assert "\n" not in caught.value.problem


def test_lines_with_a_mark_of_byte_order_pointers_and_pipes(tmp_path: Path) -> None:
    path = as_lines(tmp_path)
    wanted = list(open_triples(path))
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert list(open_triples(path)) == wanted
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(EdgeError, match=r"t.jsonl is a pointer of Git LFS"):
        list(open_triples(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(EdgeError, match="no regular file"):
        list(open_triples(path))


@pytest.mark.parametrize("line", ["[" * 100_000, '{"question": 1e999}', '{"question": NaN}', '{"a":' * 100_000])
def test_lines_that_json_cannot_hold(line: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(line + "\n" + TRIPLES[1].to_json())
    first, second = rows_of(path)
    assert "is not JSON" in first.fault and second.sample is not None


def test_faults_of_a_tar_by_key(tmp_path: Path) -> None:
    good = json.dumps({"question": "q", "chosen": "c"}).encode()
    path = write_tar(
        tmp_path / "t.tar",
        [
            ("no-json.png", png(1)),
            ("broken.json", b"{"),
            ("latin.json", b'{"question": "\xe4"}'),
            ("list.json", b"[]"),
            ("five.json", b'{"question": "q", "chosen": "c", "image": 5}'),
            ("lacks.json", b'{"question": "q", "chosen": "c", "image": "z.png"}'),
            ("picture.json", good),
            ("picture.png", b"\x89PNG"),
            ("empty.json", good),
            ("empty.png", b""),
            (".hidden", b"x"),
            ("good.json", good),
            ("good.txt", b"no picture"),
        ],
    )
    report = validate.validate(path)
    assert (report.lines, report.good) == (9, 1)
    assert report.examples == {
        "a line that has no .json": ["no-json"],
        "a line that is not JSON (Expecting property name enclosed in double quotes)": ["broken"],
        "a line that is not JSON (not UTF-8)": ["latin"],
        "a line that is not a JSON object": ["list"],
        "a line that has an image that is neither a text nor a list of texts": ["five"],
        "a line that names a picture that its shard lacks": ["lacks"],
        "a picture that cannot be read": ["picture", "empty"],
    }
    with pytest.raises(EdgeError, match=r"row no-json has no \.json"):
        list(open_triples(path))


@pytest.mark.parametrize("name", ["t.parquet", "t.tar", "t.tar.gz", "t.jsonl"])
def test_damaged_and_absent_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError):
        list(rows_of(tmp_path / name))
    (tmp_path / name).write_bytes(b"\x00\xffnothing of that kind" * 40)
    if name == "t.jsonl":
        with pytest.raises(EdgeError, match="cannot be read"):
            list(rows_of(tmp_path / name))
        return
    with pytest.raises(EdgeError, match="cannot be read"):
        list(rows_of(tmp_path / name))
    (tmp_path / "whole").mkdir()
    whole = {
        "t.parquet": lambda f: as_parquet(f, "bytes"),
        "t.tar": lambda f: as_tar(f, named=False),
        "t.tar.gz": lambda f: as_tar(f, named=False, gz=True),
    }[name](tmp_path / "whole").read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 3])
    with pytest.raises(EdgeError, match="cannot be read"):
        list(rows_of(tmp_path / name))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_tar_is_samples_or_clear_faults(data: st.DataObject, tmp_path: Path) -> None:
    names = st.text("ab./", min_size=1, max_size=6).map(lambda stem: stem.strip("/") or "a")
    members = data.draw(
        st.lists(
            st.tuples(
                st.builds(lambda stem, ending: stem + ending, names, st.sampled_from([".json", ".png", ".jpg", ""])),
                st.sampled_from([b"", b"{}", png(3), b'{"question": "q", "chosen": "c"}', b'{"image": [1]}', b"\xff"]),
            ),
            max_size=6,
        )
    )
    path = write_tar(tmp_path / "t.tar", members)
    for row in rows_of(path):
        assert (row.sample is None) == bool(row.fault)
    validate.validate(path)


def test_only_lines_are_repaired(tmp_path: Path) -> None:
    done = edge("data", "validate", str(as_tar(tmp_path, named=False)), "--repaired", str(tmp_path / "c.jsonl"))
    assert done.returncode == 1 and "could not hold its pictures" in done.stderr
    assert not (tmp_path / "c.jsonl").exists()
    assert document("data", "validate", str(tmp_path / "*.tar"))["good"] == 3


def test_a_copy_elsewhere_still_finds_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    validate.validate(as_lines(tmp_path), tmp_path / "there" / "copy.jsonl")
    assert [told(sample) for sample in open_triples(tmp_path / "there" / "copy.jsonl")] == [
        told(sample) for sample in open_triples(tmp_path / "t.jsonl")
    ]


def held_while_validating(path: Path, rows: int) -> int:
    """Bytes that are held when the last row has been read. Python's own table of interned names, which is as large as
    it happens to be, is left out."""
    held = []

    def told(_: Triple) -> None:
        told.count += 1
        if told.count == rows:
            snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*pathlib*")])
            held.append(sum(trace.size for trace in snapshot.traces))

    told.count = 0
    tracemalloc.start()
    validate._check(path, False, told)
    tracemalloc.stop()
    return held[0]


@pytest.mark.slow
def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    """Every row has a picture or a kind of its own, and many a fault: whatever is remembered would show."""

    def write(path: Path, number: int) -> Path:
        with path.open("w") as file:
            for row in range(number):
                images = (f"{row}.png",) if row % 2 else ()
                file.write(Triple(f"q {row}?", f"yes {row}", ("no",), images, f"kind {row}").to_json() + "\n")
        return path

    small = held_while_validating(write(tmp_path / "small.jsonl", 10_000), 5_000)
    large = held_while_validating(write(tmp_path / "large.jsonl", 50_000), 25_000)
    assert large < small * 1.4, (small, large)


def test_no_more_than_a_row_group_of_parquet_is_in_memory(tmp_path: Path) -> None:
    """60 MB in groups of 2 MB."""
    path = tmp_path / "t.parquet"
    table = pa.table({"question": ["q"] * 3_000, "chosen": ["c"] * 3_000, "image": [b"x" * 20_000] * 3_000})
    pq.write_table(table, path, row_group_size=100, use_dictionary=False, compression="none")
    del table
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    count, arrow = 0, 0
    for row in rows_of(path):
        assert row.sample and row.sample.pictures == (b"x" * 20_000,)
        count, arrow = count + 1, max(arrow, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 3_000 and peak < 6e6 and arrow < 6e6, (peak, arrow)


def test_rows_of_other_things() -> None:
    for record, fault in (
        ({"question": "q", "chosen": "c", "image": [5]}, "has a picture that is neither a path nor bytes"),
        ({"question": None, "chosen": "c"}, "lacks question or chosen"),
        (
            {"question": "q", "chosen": "c", "rejected": [None]},
            "has a rejected that is neither a text nor a list of texts",
        ),
    ):
        row = rows.row_of(7, record, Path())
        assert (row.place, row.sample, row.fault) == (7, None, fault)

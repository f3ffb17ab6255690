"""Files that are read from disk, but for checkpoints and bundles: made once, and read as their users would."""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from unittest.mock import patch

import pyarrow
from noise import noise
from profiles import make_run
from pyarrow import parquet

from phantom_edge.data.journal import FAILED, KEPT, Journal, Outcome
from phantom_edge.data.prompts import SHIPPED, load_prompts
from phantom_edge.data.sources import rows_of
from phantom_edge.data.triples import Triple
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import regular
from phantom_edge.foundation.resume import unfinished
from phantom_edge.foundation.typed import to_json
from phantom_edge.processing.images import open_image
from phantom_edge.profile.devices.table import read_table
from phantom_edge.profile.history import history
from phantom_edge.profile.home import HOME
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import read_run, write_run
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.train.runs import RunFolder, draw_curves, last_checkpoint

TRIPLES = [
    Triple("what?", "red", ("blue", "green"), ("a.png",), "colour"),
    Triple("text only?", "yes", ("no",)),
    Triple("which differ?", "both", (), ("a.png", "b.jpg")),
]


def data_files(folder: Path) -> None:
    """Make lines with pictures, and the same as a tar."""
    folder.mkdir(exist_ok=True)
    noise((40, 30), 70).save(folder / "a.png")
    noise((30, 40), 60).save(folder / "b.jpg")
    (folder / "t.jsonl").write_text("".join(triple.to_json() + "\n" for triple in TRIPLES), encoding="utf-8")
    with tarfile.open(folder / "t.tar.gz", "w:gz") as tar:
        for number, triple in enumerate(TRIPLES[:2]):
            content = replace(triple, images=("0.png",) * len(triple.images)).to_json().encode()
            about = tarfile.TarInfo(f"{number}.json")
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
        tar.add(folder / "a.png", "0.png")
    columns = {"question": ["what?"] * 3, "chosen": ["red"] * 3, "image": ["a.png", None, "b.jpg"]}
    parquet.write_table(pyarrow.table(columns), folder / "t.parquet")


def data_read(folder: Path) -> str:
    """Every row with its pictures' sizes."""
    found: list[object] = []
    for name in ("t.jsonl", "t.tar.gz", "t.parquet"):
        for row in rows_of(folder / name):
            pictures = row.sample.pictures if row.sample else ()
            found.append([row.fault, *(_size(picture) for picture in pictures)])
    return json.dumps(found)


def _size(picture: Path | bytes) -> object:
    try:
        return open_image(picture).size
    except EdgeError as error:  # a row's fault, of which validation makes a line
        return _checked(error)


def _checked(error: EdgeError) -> str:
    assert "\n" not in error.problem and error.remedy
    return error.problem


PICTURES = {
    "png": {},
    "jpg": {"format": "JPEG"},
    "gif": {},
    "bmp": {},
    "tif": {"format": "TIFF"},
    "webp": {},
    "ppm": {},
}


def pictures(folder: Path) -> None:
    """Make a picture in each format."""
    folder.mkdir(exist_ok=True)
    for ending, options in PICTURES.items():
        noise((40, 30), 70).save(folder / f"a.{ending}", **options)
    noise((40, 30), 70).convert("RGBA").save(folder / "alpha.png")
    noise((40, 30), 70).convert("I;16").save(folder / "deep.png")


def seen(folder: Path) -> str:
    """What each picture shows, or its fault."""
    return json.dumps([str(_size(path)) for path in (folder / f"a.{ending}" for ending in PICTURES)])


def profile(folder: Path) -> None:
    """Make a profile, a device's lines, and a history."""
    folder.mkdir(exist_ok=True)
    write_run(folder / "run.json", make_run())
    lines: list[str] = []
    gathering = Gathering(lambda _kind, line: lines.append(line))
    run = make_run()
    gathering.record("device", run.device)
    gathering.record("subject", run.subject)
    for stage in run.stages:
        gathering.record("stage", stage)
    (folder / "lines.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with _home(folder), history() as runs:
        for seed in range(3):
            runs.record(make_run(seed=seed))


def profile_read(folder: Path) -> str:
    """What each of them says."""
    found = [json.dumps(to_json(read_run(folder / "run.json")))]
    gathering = Gathering()
    try:
        lines = regular(folder / "lines.jsonl").read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:  # lines come over a connection, never from a file
        raise EdgeError(str(error), "connect again") from error
    cut = ""
    for line in lines:
        try:
            gathering.take(line)
        except EdgeError as error:  # what came before it stays
            if not gathering.is_begun:
                raise
            cut = _checked(error)
            break
    found.append(json.dumps(to_json(gathering.run(3, cut or "cut")) | {"when": ""}))
    with _home(folder), history() as runs:
        found += [json.dumps(to_json(runs.run(entry.id))) for entry in runs.entries()]
    return "\n".join(found)


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    with patch.dict(os.environ, {HOME: str(folder)}):
        yield


def settings(folder: Path) -> None:
    """Make a recipe, a table of devices, and prompts."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_bytes((files("phantom_edge.quantize") / "recipes" / "mixed.toml").read_bytes())
    (folder / "prompts.toml").write_bytes(SHIPPED.read_bytes())
    (folder / "devices.toml").write_text(
        '[devices.board]\ntargets = ["onnx"]\nbandwidth = { value = 102, unit = "GB/s", source = "https://x" }\n',
        encoding="utf-8",
    )


def settings_read(folder: Path) -> str:
    """What each of them says, or its fault."""
    found = []
    for read in (
        lambda: read_recipe(str(folder / "recipe.toml")),
        lambda: load_prompts(folder / "prompts.toml"),
        lambda: read_table(folder / "devices.toml"),
    ):
        try:
            found.append(repr(read()))
        except EdgeError as error:
            found.append(_checked(error))
    return "\n".join(found)


RUN_SETTINGS = {"checkpoint": "a" * 8, "epochs": 2}


def run(folder: Path) -> None:
    """Make the folder of a training that was interrupted."""
    of = RunFolder(folder)
    of.begin(RUN_SETTINGS, resume=False)
    for stage in ("step 1", "step 2"):
        for step in range(5):
            of.log({"stage": stage, "step": step, "loss": 2.0 / (1 + step)})
    for step in (2, 4):
        (folder / f"checkpoint-{step}").mkdir()
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text('{"global_step": 2}', encoding="utf-8")


def run_continued(folder: Path) -> str:
    """What a training goes on with, and draws."""
    of = RunFolder(folder)
    of.begin(RUN_SETTINGS, resume=True)
    draw_curves(of.lines(), folder / "curves.png")
    last = last_checkpoint(folder)
    return json.dumps([of.lines(), last and last.name])


ABOUT = {"source": "a" * 8, "model": "m"}


def work(folder: Path) -> None:
    """Make a journal of curation, and an unfinished export of two parts."""
    folder.mkdir(exist_ok=True)
    with Journal(folder / "journal", 4, ABOUT) as begun:
        begun.add(0, Outcome(KEPT, "blue", prompt_tokens=3, completion_tokens=1))
        begun.add(3, Outcome(FAILED, reason="no answer within 60 s"))
    with unfinished(folder / "bundle", ABOUT) as parts:
        for name in ("one", "two"):
            parts.part(name, partial(_part, name))


def _part(name: str, place: Path) -> str:
    (place / name).write_bytes(name.encode() * 5000)
    return name.upper()


def work_continued(folder: Path) -> str:
    """What either goes on from; a damaged part is made again."""
    found: list[object] = []
    with unfinished(folder / "bundle", ABOUT) as parts:
        found += [parts.part(name, partial(_part, name)) for name in ("one", "two")]
        parts.link_to(folder)
        assert [(folder / name).read_bytes() for name in ("one", "two")] == [b"one" * 5000, b"two" * 5000]
    with Journal(folder / "journal", 4, ABOUT) as begun:
        found += [str(begun[row]) for row in range(4)]
    return json.dumps(found)

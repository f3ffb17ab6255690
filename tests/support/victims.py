"""Things that are read from disk, each made once and used as its user would, whatever was done to its files."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from unittest.mock import patch

import torch
from bundles import tiny_bundle
from golden_checkpoints import official_folder
from noise import noise
from profiles import make_run

from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.convert import convert
from phantom_edge.convert.random import write_random
from phantom_edge.data.prompts import SHIPPED, load_prompts
from phantom_edge.data.sources import rows_of
from phantom_edge.data.triples import Triple
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import regular
from phantom_edge.foundation.typed import to_json
from phantom_edge.generate import Sampling, load, stream
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.images import open_image
from phantom_edge.profile.devices.table import read_table
from phantom_edge.profile.history import history
from phantom_edge.profile.home import HOME
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import read_run, write_run
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.sampling import Sampling as OfBundles

TWO = {"max_new_tokens": 2}


@dataclass(frozen=True)
class Victim:
    """``make`` writes the files into a folder; ``use`` returns what they say, as text, or raises EdgeError.

    ``sealed``: files whose damage must be noticed, wherever it is.
    """

    make: Callable[[Path], object]
    use: Callable[[Path], str]
    sealed: bool = False


def random_checkpoint(folder: Path) -> None:
    """Make a checkpoint of the tiny size, in our layout."""
    write_random(SIZES["tiny"], folder, seed=5, dtype=torch.float32, eta=1.0)


def asked(folder: Path) -> str:
    """Answer of a checkpoint."""
    model, processor = load(str(folder), torch.float32)
    return "".join(stream(model, processor, "hi", [noise((40, 30), 70)], Sampling(**TWO)))


def quantized(folder: Path) -> None:
    """Make a quantized checkpoint."""
    random_checkpoint(folder.with_name(f"{folder.name} floats"))
    quantize_checkpoint(folder.with_name(f"{folder.name} floats"), read_recipe("int8"), folder, name="int8")


def opened(folder: Path) -> str:
    """What an export reads of a checkpoint first."""
    source = Source.open(folder)
    source.check_ids()
    return json.dumps(sorted(source.words([{"role": "user", "content": "hi"}], [])))


def converted(folder: Path) -> str:
    """An official checkpoint in our layout."""
    out = folder.with_name(f"{folder.name} converted")
    convert(folder, out, force=True)
    return digest(out)


def digest(folder: Path) -> str:
    """SHA-256 of all files."""
    files = sorted(path for path in folder.rglob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def onnx_bundle(folder: Path) -> None:
    """Make a bundle."""
    desk = folder.with_name(f"{folder.name} desk")
    desk.mkdir()
    tiny_bundle(desk, context=256).rename(folder)


def asked_of_bundle(folder: Path) -> str:
    """Answer of a bundle."""
    return "".join(open_session(folder).ask("hi", [noise((40, 30), 70)], OfBundles(**TWO)))


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


def data_read(folder: Path) -> str:
    """Every row with its pictures' sizes."""
    found: list[object] = []
    for name in ("t.jsonl", "t.tar.gz"):
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
    for line in lines:
        gathering.take(line)
    found.append(json.dumps(to_json(gathering.run(3, "cut"))))
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


VICTIMS: dict[str, Victim] = {
    "checkpoint": Victim(random_checkpoint, asked),
    "official": Victim(lambda folder: official_folder("0_5b-1e-4", folder), converted),
    "quantized": Victim(quantized, opened),
    "bundle": Victim(onnx_bundle, asked_of_bundle, sealed=True),
    "data": Victim(data_files, data_read),
    "pictures": Victim(pictures, seen),
    "profile": Victim(profile, profile_read),
    "settings": Victim(settings, settings_read),
}

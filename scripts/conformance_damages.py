"""Damaged bundles of the conformance data: a part of conformance.py."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phantom_edge.bundle.manifest import MANIFEST, UNSEALED
from phantom_edge.bundle.seal import sealed
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError

Damage = tuple[Callable[[Path], object], str]
"""A change of a bundle, and a regular expression that the refusal of every reader matches."""


def cut(name: str) -> Callable[[Path], object]:
    """The last bytes are missing."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7])


def flipped(name: str) -> Callable[[Path], object]:
    """A bit in the middle is another one."""

    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return change


def swapped(one: str, other: str) -> Callable[[Path], object]:
    """Two files have changed places."""

    def change(folder: Path) -> None:
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)

    return change


def put(value: Any, *place: str) -> Callable[[Path], object]:
    """Another value in the manifest, which is sealed again."""
    return edited(lambda document: _parent(document, place).update({place[-1]: value}))


def drop(*place: str) -> Callable[[Path], object]:
    """A value less in the manifest, which is sealed again."""
    return edited(lambda document: _parent(document, place).pop(place[-1]))


def _parent(document: Any, place: tuple[str, ...]) -> Any:
    for step in place[:-1]:
        document = document[step]
    return document


def edited(change: Callable[[Any], object]) -> Callable[[Path], object]:
    """The manifest is changed, and sealed again."""

    def apply(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8")) | {"seal": UNSEALED}
        change(document)
        (folder / MANIFEST).write_text(sealed(json.dumps(document)), encoding="utf-8")

    return apply


def written(text: str) -> Callable[[Path], object]:
    """Another text in the manifest's place."""
    return lambda folder: (folder / MANIFEST).write_text(text, encoding="utf-8")


def parts_swapped(document: Any) -> None:
    parts = document["parts"]
    parts.update(vision=parts["decoder"], decoder=parts["vision"])


def file_outside(document: Any) -> None:
    document["files"]["../x"] = document["files"]["decoder.data"]


def unsealed_digit(folder: Path) -> None:
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    changed = text.replace('"max_context": 2048', '"max_context": 2052')
    assert changed != text
    (folder / MANIFEST).write_text(changed, encoding="utf-8")


DAMAGES: Mapping[str, Damage] = {
    "vision graph cut": (cut("vision.onnx"), "vision.onnx has"),
    "decoder's weights cut": (cut("decoder.data"), "decoder.data has"),
    "tokenizer cut": (cut("tokenizer.json"), "tokenizer.json has"),
    "vision's weights flipped": (flipped("vision.data"), "vision.data is not the file"),
    "decoder graph flipped": (flipped("decoder.onnx"), "decoder.onnx is not the file"),
    "decoder's weights flipped": (flipped("decoder.data"), "decoder.data is not the file"),
    "tokenizer flipped": (flipped("tokenizer.json"), "tokenizer.json is not the file"),
    "template flipped": (flipped("chat_template.jinja"), "chat_template.jinja is not the file"),
    "graphs swapped": (swapped("vision.onnx", "decoder.onnx"), "(vision|decoder).onnx has"),
    "weights missing": (lambda folder: (folder / "decoder.data").unlink(), "decoder.data is missing"),
    "manifest missing": (lambda folder: (folder / MANIFEST).unlink(), "has no phantom.json"),
    "manifest cut": (cut(MANIFEST), "phantom.json cannot be read"),
    "manifest a list": (written("[]"), "the document is no object"),
    "manifest nested": (written("[" * 5000), "cannot be read"),
    "wrong sha": (put("0" * 64, "files", "decoder.data", "sha256"), "is not the file"),
    "impossible sha": (put("../x", "files", "decoder.data", "sha256"), "files.decoder.data"),
    "future schema": (put(99, "schema_version"), "schema version 99"),
    "other target": (put("coreml", "target"), "target coreml"),
    "not sealed": (drop("seal"), "seal is missing"),
    "sealed by nobody": (put("1" * 64, "seal"), "its seal does not fit"),
    "a digit changed": (unsealed_digit, "its seal does not fit"),
    "no decoder": (drop("parts", "decoder"), "parts is impossible"),
    "embedding elsewhere": (put(10**9, "embedding", "offset"), "embedding is impossible"),
    "endless cache": (put(10**12, "cache", "max_context"), "cache.max_context is"),
    "another cache": (put(1, "cache", "kv_heads"), "cache is impossible"),
    "another number format": (put("float16", "cache", "dtype"), "ports is impossible"),
    "no stop": (put([], "prompt", "stop_tokens"), "prompt.stop_tokens is impossible"),
    "no such token": (put(10**9, "prompt", "first_token"), "prompt is impossible"),
    "no tiles": (put(0, "pictures", "tokens_per_tile"), "tokens_per_tile is impossible"),
    "zero tiles": (put(0, "pictures", "max_tiles"), "tiles is impossible"),
    "endless tiles": (put(10**9, "pictures", "max_tiles"), "tiles is impossible"),
    "another filter": (put("lanczos", "pictures", "resizing", "filter"), "pictures.resizing.filter is"),
    "another grid rule": (put("largest", "pictures", "grid_rule"), "pictures.grid_rule is"),
    "version true": (put(True, "schema_version"), "schema_version is [Tt]rue"),
    "version 2.0": (put(2.0, "schema_version"), "schema_version is 2.0, not 2"),
    "no chunk": (put(0, "prefill_chunk"), "prefill_chunk is impossible"),
    "endless number": (put(10**400, "model", "eta"), "model.eta is larger than 53 bits"),
    "no number": (put(float("nan"), "model", "eta"), "cannot be read"),
    "parts swapped": (edited(parts_swapped), "ports is impossible|has other inputs or outputs"),
    "another graph": (put("vision.onnx", "parts", "decoder", "file"), "has other inputs or outputs"),
    "no tokenizer": (put("chat_template.jinja", "prompt", "tokenizer"), "chat_template.jinja is no tokenizer"),
    "unknown field": (put(1, "surprise"), "surprise is not known"),
    "unknown setting": (put(1, "generation", "surprise"), "generation.surprise is not known"),
    "missing field": (drop("prompt"), "prompt is missing"),
    "wrong type": (put("two", "cache", "layers"), "cache.layers is '?two'?"),
    "file elsewhere": (edited(file_outside), "no plain file name"),
    "unlisted file": (put("other.data", "embedding", "file"), "'other.data' is used"),
    "widths do not fit": (put([1], "cache", "key_widths"), "has not one width"),
}


def write_damaged(out: Path, base: Path, damages: Mapping[str, Damage]) -> list[dict[str, Any]]:
    """For each damage the files that differ from the bundle ``base``; this package refuses every one of them."""
    found = []
    for number, (name, (change, says)) in enumerate(damages.items()):
        copy, folder = out / "copy", out / f"{number:02}"
        shutil.copytree(base, copy)
        change(copy)
        try:
            open_session(copy)
        except EdgeError as error:
            problem = error.problem.replace(str(copy), "BUNDLE")
        else:
            raise AssertionError(f"this was not refused: {name}")
        if not re.search(says, problem):
            raise AssertionError(f"{name}: {problem}")
        names = [str(path.relative_to(base)) for path in sorted(base.rglob("*")) if path.is_file()]
        missing = [one for one in names if not (copy / one).exists()]
        differing = [
            one for one in names if one not in missing and (copy / one).read_bytes() != (base / one).read_bytes()
        ]
        for one in differing:
            (folder / one).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(copy / one, folder / one)
        shutil.rmtree(copy)
        found.append(
            {
                "name": name,
                "folder": folder.name,
                "files": differing,
                "missing": missing,
                "says": says,
                "problem": problem,
            }
        )
    return found

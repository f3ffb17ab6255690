"""A bundle that is not what its manifest says is refused, never run; and the manifest is what its schema says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import manifest_edit

from phantom_edge.bundle.folder import Bundle, is_bundle
from phantom_edge.bundle.manifest import MANIFEST, Manifest
from phantom_edge.export.manifest_schema import manifest_schema
from phantom_edge.export.sessions import open_session
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import WrongJson, from_json, to_json

SCHEMA = Path(__file__).resolve().parents[1] / "phantom_edge" / "bundle" / "schema.json"


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7]) and None


def flipped(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return damage


def swapped(one: str, other: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)

    return damage


FILES = ("vision.onnx", "vision.data", "decoder.onnx", "decoder.data", "tokenizer.json", "chat_template.jinja")
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    **{f"{name} cut": (cut(name), f"{name} has") for name in FILES},
    **{f"{name} with one bit flipped": (flipped(name), f"{name} is not the file") for name in FILES},
    "graphs swapped": (swapped("vision.onnx", "decoder.onnx"), "vision.onnx has|decoder.onnx has"),
    "weights missing": (lambda folder: (folder / "decoder.data").unlink(), "decoder.data is missing"),
    "manifest missing": (lambda folder: (folder / MANIFEST).unlink(), "has no phantom.json"),
    "manifest cut": (cut(MANIFEST), "phantom.json cannot be read"),
    "manifest a list": (lambda folder: (folder / MANIFEST).write_text("[]") and None, "the document is no object"),
    "wrong sha": (manifest_edit(lambda d: d["files"]["decoder.data"].update(sha256="0" * 64)), "is not the file"),
    "impossible sha": (manifest_edit(lambda d: d["files"]["decoder.data"].update(sha256="../x")), "files.decoder.data"),
    "future schema": (manifest_edit(lambda d: d.update(schema_version=99)), "schema version 99"),
    "other target": (manifest_edit(lambda d: d.update(target="coreml")), "target coreml"),
    "not sealed": (manifest_edit(lambda d: d.pop("seal")), "seal is missing"),
    "sealed by nobody": (manifest_edit(lambda d: d.update(seal="1" * 64)), "its seal does not fit"),
    "a digit changed": (
        lambda folder: (
            (folder / MANIFEST).write_text(
                (folder / MANIFEST).read_text().replace('"max_context": 512', '"max_context": 516')
            )
            and None
        ),
        "its seal does not fit",
    ),
    "no decoder": (manifest_edit(lambda d: d["parts"].pop("decoder")), "parts is impossible"),
    "embedding elsewhere": (manifest_edit(lambda d: d["embedding"].update(offset=10**9)), "embedding is impossible"),
    "embedding off by a byte": (
        manifest_edit(lambda d: d["embedding"].update(offset=3)),
        "embedding.offset is impossible",
    ),
    "endless cache": (
        manifest_edit(lambda d: d["cache"].update(max_context=10**12)),
        "cache.max_context is impossible",
    ),
    "another cache": (manifest_edit(lambda d: d["cache"].update(kv_heads=1)), "cache is impossible"),
    "another number format": (manifest_edit(lambda d: d["cache"].update(dtype="float16")), "ports is impossible"),
    "no stop": (manifest_edit(lambda d: d["prompt"].update(stop_tokens=[])), "prompt.stop_tokens is impossible"),
    "no such token": (manifest_edit(lambda d: d["prompt"].update(first_token=10**9)), "prompt is impossible"),
    "no tiles": (manifest_edit(lambda d: d["pictures"].update(tokens_per_tile=0)), "tokens_per_tile is impossible"),
    "zero tiles": (manifest_edit(lambda d: d["pictures"].update(max_tiles=0)), "tiles is impossible"),
    "version true": (manifest_edit(lambda d: d.update(schema_version=True)), "schema_version is True"),
    "version 2.0": (manifest_edit(lambda d: d.update(schema_version=2.0)), "schema_version is 2.0, not 2"),
    "endless tiles": (manifest_edit(lambda d: d["pictures"].update(max_tiles=10**9)), "tiles is impossible"),
    "no chunk": (manifest_edit(lambda d: d.update(prefill_chunk=0)), "prefill_chunk is impossible"),
    "endless number": (manifest_edit(lambda d: d["model"].update(eta=10**400)), "model.eta is larger than 53 bits"),
    "no number": (manifest_edit(lambda d: d["model"].update(eta=float("nan"))), "cannot be read"),
    "parts swapped": (
        manifest_edit(lambda d: d["parts"].update(vision=d["parts"]["decoder"], decoder=d["parts"]["vision"])),
        "has other inputs or outputs|ports",
    ),
    "another graph": (
        manifest_edit(lambda d: d["parts"]["decoder"].update(file="vision.onnx")),
        "has other inputs or outputs",
    ),
    "no tokenizer": (
        manifest_edit(lambda d: d["prompt"].update(tokenizer="chat_template.jinja")),
        "chat_template.jinja is no tokenizer",
    ),
    "unknown field": (manifest_edit(lambda d: d.update(surprise=1)), "surprise is not known"),
    "missing field": (manifest_edit(lambda d: d.pop("prompt")), "prompt is missing"),
    "wrong type": (manifest_edit(lambda d: d["cache"].update(layers="two")), "cache.layers is 'two'"),
    "file elsewhere": (
        manifest_edit(lambda d: d["files"].update({"../x": d["files"]["decoder.data"]})),
        "no plain file name",
    ),
    "unlisted file": (manifest_edit(lambda d: d["embedding"].update(file="other.data")), "'other.data' is used"),
    "widths do not fit": (manifest_edit(lambda d: d["cache"].update(key_widths=[1])), "has not one width"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_bundle_is_refused(name: str, bundle: Bundle, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    shutil.copytree(bundle.path, tmp_path / "bundle")
    damage(tmp_path / "bundle")
    with pytest.raises(EdgeError, match=message) as refused:
        open_session(tmp_path / "bundle")
    assert refused.value.remedy


def test_only_bundles_are_bundles(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    assert is_bundle(bundle.path) and not is_bundle(checkpoint)
    with pytest.raises(EdgeError, match="there is no folder"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(EdgeError, match="made for target onnx, not for coreml"):
        Bundle.open(bundle.path, "coreml")


def test_manifest_and_schema_agree(bundle: Bundle) -> None:
    """The committed schema is that of the code, and judges documents as the reader does."""
    jsonschema = pytest.importorskip("jsonschema")
    wanted = manifest_schema()
    assert json.loads(SCHEMA.read_text()) == wanted, "run: python scripts/schemas.py"
    judge = jsonschema.Draft202012Validator(wanted)
    document = to_json(bundle.manifest)
    assert from_json(Manifest, document) == bundle.manifest and judge.is_valid(document)
    changes: list[tuple[str, Any]] = [
        ("target", 1),
        ("parts", []),
        ("schema_version", 1),
        ("phantom", None),
        ("golden", 3),
    ]
    for key, value in changes:
        wrong = {**document, key: value}
        assert not judge.is_valid(wrong)
        with pytest.raises(WrongJson, match=key):
            from_json(Manifest, wrong)

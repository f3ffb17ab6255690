"""Small bundles for ONNX Runtime, and bundles whose manifest is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from export_settings import settings_for

from phantom_edge.bundle.folder import Bundle, listing
from phantom_edge.bundle.manifest import MANIFEST, UNSEALED
from phantom_edge.bundle.proof_file import PROOF
from phantom_edge.bundle.seal import sealed
from phantom_edge.convert.random import write_random
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.target import Settings
from phantom_edge.models.sizes import SIZES


def export_onnx(checkpoint: Path, out: Path, prove: bool = False, **settings: Any) -> Bundle:
    """A bundle for ONNX Runtime, unverified unless asked for."""
    return export_bundle(str(checkpoint), "onnx", out, settings_for("onnx", **settings), prove=prove).bundle


def tiny_bundle(desk: Path, context: int = 64) -> Path:
    """Export an unverified bundle of the tiny size, target onnx, whose phantom halves count (eta 1)."""
    write_random(SIZES["tiny"], desk / "model", seed=5, dtype=torch.float32, eta=1.0)
    export_bundle(str(desk / "model"), "onnx", desk / "bundle", Settings(max_context=context), prove=False)
    return desk / "bundle"


def resealed(folder: Path, change: Callable[[Any], None] = lambda _: None) -> None:
    """Change the manifest of a bundle and seal it again, as if it had been exported so."""
    text: Any = json.loads((folder / MANIFEST).read_text())
    files = listing(folder, text["files"])
    text["files"] = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in files.items()}
    text["seal"] = UNSEALED
    change(text)
    _write(folder, sealed(json.dumps(text, indent=1)))


def seal_again(folder: Path) -> None:
    """List the files of a damaged bundle as they are and seal it, as a forger would; what is no manifest stays."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text("utf-8")) if path.is_file() else None
        for name, file in document["files"].items():
            if (folder / name).is_file() and (folder / name).resolve().is_relative_to(folder.resolve()):
                listed = listing(folder, [name])[name]
                file.update(bytes=listed.bytes, sha256=listed.sha256)
        text = sealed(json.dumps(document | {"seal": UNSEALED}))
    except (TypeError, ValueError, KeyError, AttributeError, OSError, RecursionError):
        return
    path.unlink()  # it may be a link to the undamaged one
    path.write_text(text, "utf-8", "surrogatepass")


def _write(folder: Path, manifest: str) -> None:
    """Write the manifest, to which a proof belongs from then on."""
    (folder / MANIFEST).write_text(manifest)
    if (folder / PROOF).exists():
        proof = json.loads((folder / PROOF).read_text())
        proof |= {"bundle": json.loads(manifest).get("seal", ""), "seal": UNSEALED}
        (folder / PROOF).write_text(sealed(json.dumps(proof, indent=1)))


def manifest_edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Damage: the manifest changed and sealed again, its list of files as it was."""

    def damage(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text()) | {"seal": UNSEALED}
        change(document)
        _write(folder, sealed(json.dumps(document)))

    return damage

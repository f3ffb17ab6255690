"""Bundles of schema version 1 are still read: manifests that were written before targets had facts of their own."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from phantom_edge.bundle.folder import MANIFEST, Bundle, read_manifest, record_proof
from phantom_edge.bundle.proof import Check, Proof
from phantom_edge.export.targets import target_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json

MANIFESTS = Path(__file__).parent / "golden" / "manifests_v1"
FACTS: dict[str, dict[str, Any]] = {
    "onnx-int8-cache": {},
    "et-int8": {},
    "coreml-17": {"compute": "ane", "ios": 17, "rotary": "rotary.data", "masked": -40000.0, "window": None},
    "coreml-gpu": {"compute": "gpu", "ios": 18, "rotary": "rotary.data", "masked": -40000.0, "window": None},
    "jetson-int8": {
        "name": "agx-orin",
        "tensorrt": "10.0",
        "jetpack": "6.2",
        "workspace_megabytes": 8192,
        "runner": "runner.py",
        "golden": "golden.npz",
    },
    "qnn-int8": {
        "name": "sm8650",
        "soc": 57,
        "arch": 75,
        "sdk": "2.51.0",
        "shared": False,
        "ranges": "source/ranges.json",
        "rotary": "rotary.data",
        "masked": -55.06747102737427,
        "window": None,
    },
}


def test_every_stored_manifest_is_expected() -> None:
    assert {path.stem for path in MANIFESTS.iterdir()} == FACTS.keys()


@pytest.mark.parametrize("name", FACTS)
def test_a_manifest_of_version_1_is_read(name: str, tmp_path: Path) -> None:
    """With the facts that its target's engine asks for, and with all that did not change."""
    shutil.copy(MANIFESTS / f"{name}.json", tmp_path / MANIFEST)
    manifest, old = read_manifest(tmp_path), json.loads((tmp_path / MANIFEST).read_text())
    assert old["schema_version"] == 1 and manifest.schema_version == 2 and manifest.target == old["target"]
    kind = target_of(Bundle(tmp_path, manifest)).facts
    facts = {} if kind is None else asdict(Bundle(tmp_path, manifest).facts(kind))
    assert facts == FACTS[name]
    assert {file: listed.sha256 for file, listed in manifest.files.items()} == {
        file: listed["sha256"] for file, listed in old["files"].items()
    }


@pytest.mark.parametrize("name", FACTS)
def test_a_proof_inside_is_read_until_another_is_recorded(name: str, tmp_path: Path) -> None:
    """The runner inside such a bundle reads the manifest as it was written, which never changes."""
    shutil.copy(MANIFESTS / f"{name}.json", tmp_path / MANIFEST)
    text = (tmp_path / MANIFEST).read_bytes()
    inside = json.loads(text)["proof"]
    old = Bundle.unchecked(tmp_path)
    assert (None if old.proof is None else to_json(old.proof)) == inside
    proof = Proof((Check("vision", "1 tile", "relative error", 1e-3, 1e-2),), left_out=())
    assert record_proof(old, proof).proof == proof
    assert Bundle.unchecked(tmp_path).proof == proof and (tmp_path / MANIFEST).read_bytes() == text


def test_a_changed_manifest_of_version_1_is_refused(tmp_path: Path) -> None:
    """Its seal counts as it was written, before the upgrade."""
    text = (MANIFESTS / "coreml-gpu.json").read_text()
    (tmp_path / MANIFEST).write_text(text.replace("-40000.0", "-30000.0"))
    with pytest.raises(EdgeError, match="its seal does not fit"):
        read_manifest(tmp_path)

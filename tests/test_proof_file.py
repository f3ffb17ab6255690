"""``proof.json``: it belongs to one bundle, is refused where it is damaged, and is recorded without the manifest."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles import export_onnx

from phantom_edge.api import verify_bundle
from phantom_edge.bundle.folder import MANIFEST, Bundle, read_manifest, record_proof
from phantom_edge.bundle.manifest import UNSEALED
from phantom_edge.bundle.proof import STAGES, Check, Proof
from phantom_edge.bundle.proof_file import PROOF, ProofFile
from phantom_edge.bundle.seal import sealed
from phantom_edge.export.sessions import notes_on
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import check_target
from phantom_edge.foundation.typed import schema, to_json

GOOD = Proof(tuple(Check(stage, "1 tile", "relative error", 1e-7, 1e-4) for stage in STAGES), left_out=())
SCHEMA = Path(__file__).resolve().parents[1] / "phantom_edge" / "bundle" / "schema_proof.json"


@pytest.fixture
def proved(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A copy with a recorded proof."""
    return record_proof(Bundle.open(shutil.copytree(bundle.path, tmp_path / "a bundle")), GOOD)


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Damage: another document, sealed again."""

    def damage(path: Path) -> None:
        document = json.loads(path.read_text()) | {"seal": UNSEALED}
        change(document)
        path.write_text(sealed(json.dumps(document)))

    return damage


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_in_its_place(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a digit changed": (
        lambda path: path.write_text(path.read_text().replace("0.0001", "0.0002")),
        "seal does not fit",
    ),
    "cut": (lambda path: path.write_text(path.read_text()[:-9]), "cannot be read"),
    "empty": (lambda path: path.write_text(""), "cannot be read"),
    "no text": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot be read"),
    "deep": (lambda path: path.write_text("[" * 100_000), "cannot be read"),
    "no number": (lambda path: path.write_text('{"bundle": NaN}'), "cannot be read"),
    "a list": (lambda path: path.write_text("[]"), "the document is no object"),
    "no seal": (edited(lambda d: d.pop("seal")), "seal is missing"),
    "another bundle": (edited(lambda d: d.update(bundle="1" * 64)), "is the proof of another bundle"),
    "unknown field": (edited(lambda d: d.update(surprise=1)), "surprise is not known"),
    "unknown stage": (edited(lambda d: d["proof"]["checks"][0].update(stage="x")), r"proof.checks\[0\].stage is 'x'"),
    "folder": (folder_in_its_place, "is a folder, not a file"),
    "pipe": (pipe_in_its_place, "is no plain file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_proof_is_refused(name: str, proved: Bundle) -> None:
    """The manifest alone is read as before, and a new record mends it."""
    damage, message = DAMAGE[name]
    damage(proved.path / PROOF)
    with pytest.raises(EdgeError, match=message) as refused:
        Bundle.open(proved.path)
    assert f"phantom-edge verify '{proved.path}' --record" in refused.value.remedy
    assert read_manifest(proved.path) == proved.manifest
    if name == "folder":
        assert refused.value.remedy.startswith("remove it")
        (proved.path / PROOF).rmdir()
    record_proof(Bundle.open(proved.path, with_proof=False), GOOD)
    assert Bundle.open(proved.path).verified


def test_the_remedy_works(checkpoint: Path, tmp_path: Path) -> None:
    """The proof of another bundle is refused wherever the bundle is used, but not where a new one is made."""
    bundle = export_onnx(checkpoint, tmp_path / "bundle", max_context=64, prefill_chunk=8)
    other = export_onnx(checkpoint, tmp_path / "other", max_context=48, prefill_chunk=8)
    record_proof(other, GOOD)
    shutil.copy(other.path / PROOF, bundle.path / PROOF)
    with pytest.raises(EdgeError, match="is the proof of another bundle"):
        Bundle.open(bundle.path)
    before = (bundle.path / MANIFEST).read_bytes()
    assert verify_bundle(bundle.path, against=checkpoint, record=True).passed
    assert Bundle.open(bundle.path).verified and not notes_on(Bundle.open(bundle.path))
    assert (bundle.path / MANIFEST).read_bytes() == before
    check_target(bundle.path, force=True)  # the recorded proof is one of our files


def test_without_a_proof_a_bundle_is_unverified(proved: Bundle) -> None:
    assert Bundle.open(proved.path) == proved and proved.verified
    (proved.path / PROOF).unlink()
    left = Bundle.open(proved.path)
    assert left.proof is None and not left.verified and "is unverified" in notes_on(left)[0]
    failed = Proof(GOOD.checks[:2], left_out=())
    assert not record_proof(left, failed).verified and "FAILED" in notes_on(Bundle.open(proved.path))[0]


def test_a_proof_is_never_half_written(proved: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (proved.path / PROOF).read_bytes()

    def stop(_text: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("phantom_edge.bundle.proof_file.sealed_text", stop)
    with pytest.raises(KeyboardInterrupt):
        record_proof(proved, Proof((), left_out=()))
    assert (proved.path / PROOF).read_bytes() == before
    assert not [path for path in proved.path.iterdir() if "partial" in path.name]


def test_a_foreign_file_stays_foreign(proved: Bundle) -> None:
    """Recording a proof counts that file among ours, and no other."""
    (proved.path / "diary").write_text("dear")
    record_proof(proved, GOOD)
    with pytest.raises(EdgeError, match="diary"):
        check_target(proved.path, force=True)


def test_proof_and_schema_agree(proved: Bundle) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    wanted = schema(ProofFile, "proof.json of a phantom-edge bundle")
    assert json.loads(SCHEMA.read_text()) == wanted, "run: python scripts/schemas.py"
    document = json.loads((proved.path / PROOF).read_text())
    judge = jsonschema.Draft202012Validator(wanted)
    assert judge.is_valid(document) and document["proof"] == to_json(GOOD)
    assert document["bundle"] == proved.manifest.seal and not judge.is_valid(document | {"bundle": 1})

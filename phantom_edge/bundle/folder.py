"""A bundle on disk, opened only if every file matches its manifest."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from phantom_edge.bundle.manifest import MANIFEST, SCHEMA_VERSION, Manifest
from phantom_edge.bundle.part import File
from phantom_edge.bundle.proof import Proof
from phantom_edge.bundle.proof_file import PROOF, read_proof, write_proof
from phantom_edge.bundle.seal import is_sealed, sealed_text
from phantom_edge.bundle.version1 import upgraded
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import sha256_of
from phantom_edge.foundation.json_file import parse_json, regular
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.foundation.versions import UPDATE

AGAIN = "export it again: phantom-edge export"
VERSIONS = (1, SCHEMA_VERSION)
"""Readable versions of the schema."""


class HasFiles(Protocol):
    """Facts that name files of their bundle."""

    def files(self) -> tuple[str, ...]:
        """Names of these files."""


T = TypeVar("T", bound=HasFiles)
R = TypeVar("R")


@dataclass(frozen=True)
class Bundle:
    """A folder whose files match its manifest, byte for byte."""

    path: Path
    manifest: Manifest
    proof: Proof | None = None
    """Comparison with the checkpoint; None where there was none: the bundle is unverified."""

    @classmethod
    def open(
        cls, path: Path | str, target: str | None = None, begin: Counting = no_progress, *, with_proof: bool = True
    ) -> "Bundle":
        """Read manifest and proof, and check every file. Raises EdgeError for a file that does not match.

        ``target`` is the only one that the caller can run, None for any; ``begin`` counts the bytes. A verification
        opens it without the proof, which may be damaged: it makes a new one.
        """
        folder = Path(path)
        bundle = cls.unchecked(folder) if with_proof else cls(folder, read_manifest(folder))
        manifest = bundle.manifest
        if target is not None and manifest.target != target:
            raise EdgeError(
                f"{folder} was made for target {manifest.target}, not for {target}",
                f"export it again: phantom-edge export --target {target}",
            )
        step = begin(sum(listed.bytes for listed in manifest.files.values()))
        for name, listed in manifest.files.items():
            _check_file(folder, name, listed, step)
        return bundle

    @classmethod
    def unchecked(cls, folder: Path) -> "Bundle":
        """Manifest and proof alone: no file is compared with the manifest."""
        document = _read_document(folder)
        manifest = _manifest(folder, document)
        proof = read_proof(folder, manifest.seal)
        if proof is None and document.get("proof") is not None:
            proof = _read_as(Proof, folder, document["proof"], "proof")  # of version 1, which had no proof.json
        return cls(folder, manifest, proof)

    @property
    def verified(self) -> bool:
        """True where it was compared with its checkpoint, and every bound was kept."""
        return self.proof is not None and self.proof.passed

    def facts(self, kind: type[T]) -> T:
        """The facts of the target, whose type is ``kind``. Raises EdgeError where they do not match."""
        try:
            facts = from_json(kind, self.manifest.facts, "facts")
        except WrongJson as error:
            raise EdgeError(
                f"{self.path / MANIFEST}: {error}, which target {self.manifest.target} needs", AGAIN
            ) from error
        _check_listed(self.path, self.manifest, set(facts.files()))
        return facts

    def file(self, name: str) -> Path:
        """Path of a file of the bundle."""
        assert name in self.manifest.files, name
        return self.path / name


def is_bundle(path: Path | str) -> bool:
    """True for a folder with a manifest."""
    return (Path(path) / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone. Raises EdgeError where it is missing, damaged, or of another version."""
    return _manifest(folder, _read_document(folder))


def _manifest(folder: Path, document: Any) -> Manifest:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise EdgeError(
            f"{folder / MANIFEST} has schema version {version}, this phantom-edge reads {SCHEMA_VERSION}",
            UPDATE,
        )
    is_old = type(version) is int and version == 1
    manifest = _read_as(Manifest, folder, upgraded(document) if is_old else document)
    _check_names(folder, manifest)
    return manifest


def _read_as(kind: type[R], folder: Path, document: Any, place: str = "") -> R:
    try:
        return from_json(kind, document, place)
    except WrongJson as error:
        raise EdgeError(f"{folder / MANIFEST}: {error}", AGAIN) from error


def _read_document(folder: Path) -> Any:
    if not folder.is_dir():
        raise EdgeError(f"there is no folder {folder}", "give a bundle: the folder that phantom-edge export wrote")
    try:
        return _checked(folder / MANIFEST, regular(folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EdgeError(f"{folder} is no bundle: it has no {MANIFEST}", AGAIN) from None
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{folder / MANIFEST} cannot be read ({type(error).__name__})", AGAIN) from error


def _checked(path: Path, text: str) -> Any:
    """The document of a manifest. Raises EdgeError where its seal does not fit the text."""
    document = parse_json(text)
    seal = document.get("seal") if isinstance(document, dict) else None
    version = document.get("schema_version") if isinstance(document, dict) else None
    is_known = version in VERSIONS or type(version) is not int
    if isinstance(seal, str) and is_known and not is_sealed(text, seal):
        raise EdgeError(f"{path} is not the file that was exported: its seal does not fit", AGAIN)
    return document


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Raises EdgeError unless every used file is listed, and inside the folder."""
    used = {manifest.prompt.tokenizer, manifest.prompt.chat_template}
    used |= set() if manifest.model.card is None else {manifest.model.card}
    used |= {one.file for one in (manifest.embedding, manifest.cache.first_row) if one is not None}
    used |= set() if manifest.golden is None else {manifest.golden}
    for part in manifest.parts.values():
        is_folder = any(name.startswith(f"{part.file}/") for name in part.weights)
        used |= set(part.weights) | (set() if is_folder else {part.file}) | ({part.source} if part.source else set())
    _check_listed(folder, manifest, used)
    for name in manifest.files:
        if name in (MANIFEST, PROOF):
            raise EdgeError(f"{folder / MANIFEST}: {name!r} is in files, where it cannot be listed", AGAIN)
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*){0,8}", name):
            raise EdgeError(f"{folder / MANIFEST}: {name!r} is no plain file name", AGAIN)


def _check_listed(folder: Path, manifest: Manifest, used: set[str]) -> None:
    for name in sorted(used - set(manifest.files)):
        raise EdgeError(f"{folder / MANIFEST}: {name!r} is used but not in files", AGAIN)


def _check_file(folder: Path, name: str, listed: File, step: Callable[[int], None]) -> None:
    path = folder / name
    if path.exists() and not path.is_file():
        raise EdgeError(f"{path} is no plain file", AGAIN)
    try:
        size = path.stat().st_size
        if size != listed.bytes:
            raise EdgeError(f"{path} has {size:,} bytes, its manifest lists {listed.bytes:,}", AGAIN)
        found = sha256_of(path, step)
    except FileNotFoundError:
        raise EdgeError(f"{path} is missing", AGAIN) from None
    except OSError as error:
        raise EdgeError(f"{path} cannot be read ({error.strerror})", AGAIN) from error
    if found != listed.sha256:
        raise EdgeError(f"{path} is not the file that was exported: its SHA-256 differs", AGAIN)


def listing(folder: Path, names: Iterable[str]) -> dict[str, File]:
    """Sizes and digests of files, for the manifest of their folder."""
    return {name: File((folder / name).stat().st_size, sha256_of(folder / name)) for name in sorted(names)}


def write_manifest(folder: Path, manifest: Manifest, proof: Proof | None = None) -> None:
    """Write ``phantom.json``, and ``proof.json`` where there is a proof."""
    text = sealed_text(to_json(manifest))
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    if proof is not None:
        write_proof(folder, parse_json(text)["seal"], proof)


def record_proof(bundle: Bundle, proof: Proof) -> Bundle:
    """Write ``proof.json``, and nothing else: programs inside a bundle read its manifest as it was exported.

    Returns the new bundle.
    """
    write_proof(bundle.path, bundle.manifest.seal, proof)
    return replace(bundle, proof=proof)

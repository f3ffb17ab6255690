"""A bundle on disk, opened only if every file matches its manifest."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from phantom_edge.bundle.manifest import MANIFEST, SCHEMA_VERSION, UNSEALED, Manifest
from phantom_edge.bundle.part import File
from phantom_edge.bundle.proof import Proof
from phantom_edge.bundle.version1 import upgraded
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import sha256_of, whole_file
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.foundation.typed import WrongJson, from_json, strict_json, to_json

AGAIN = "export it again: phantom-edge export"
VERSIONS = (1, SCHEMA_VERSION)
"""Readable versions of the schema."""


class HasFiles(Protocol):
    """Facts that name files of their bundle."""

    def files(self) -> tuple[str, ...]:
        """Names of these files."""


T = TypeVar("T", bound=HasFiles)


@dataclass(frozen=True)
class Bundle:
    """A folder whose files match its manifest, byte for byte."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path | str, target: str | None = None, begin: Counting = no_progress) -> "Bundle":
        """Read the manifest and check every file against it. Raises EdgeError for a file that does not match.

        ``target`` is the only one that the caller can run, None for any; ``begin`` counts the bytes.
        """
        folder = Path(path)
        manifest = read_manifest(folder)
        if target is not None and manifest.target != target:
            raise EdgeError(
                f"{folder} was made for target {manifest.target}, not for {target}",
                f"export it again: phantom-edge export --target {target}",
            )
        step = begin(sum(listed.bytes for listed in manifest.files.values()))
        for name, listed in manifest.files.items():
            _check_file(folder, name, listed, step)
        return cls(folder, manifest)

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
    document = _read_document(folder)
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise EdgeError(
            f"{folder / MANIFEST} has schema version {version}, this phantom-edge reads {SCHEMA_VERSION}",
            "update it: pip install --upgrade phantom-edge",
        )
    try:
        manifest = from_json(Manifest, upgraded(document) if type(version) is int and version == 1 else document)
    except WrongJson as error:
        raise EdgeError(f"{folder / MANIFEST}: {error}", AGAIN) from error
    _check_names(folder, manifest)
    return manifest


def _read_document(folder: Path) -> Any:
    if not folder.is_dir():
        raise EdgeError(f"there is no folder {folder}", "give a bundle: the folder that phantom-edge export wrote")
    try:
        return _checked(folder / MANIFEST, (folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EdgeError(f"{folder} is no bundle: it has no {MANIFEST}", AGAIN) from None
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{folder / MANIFEST} cannot be read ({type(error).__name__})", AGAIN) from error


def _checked(path: Path, text: str) -> Any:
    """The document of a manifest. Raises EdgeError where its seal does not fit the text."""
    document = strict_json(text)
    seal = document.get("seal") if isinstance(document, dict) else None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(seal, str) and (version in VERSIONS or type(version) is not int):
        found = hashlib.sha256(text.replace(_seal(seal), _seal(UNSEALED)).encode()).hexdigest()
        if found != seal:
            raise EdgeError(f"{path} is not the file that was exported: its seal does not fit", AGAIN)
    return document


def _check_names(folder: Path, manifest: Manifest) -> None:
    """Raises EdgeError unless every used file is listed, and inside the folder."""
    used = {manifest.prompt.tokenizer, manifest.prompt.chat_template}
    used |= set() if manifest.embedding is None else {manifest.embedding.file}
    used |= set() if manifest.golden is None else {manifest.golden}
    for part in manifest.parts.values():
        is_folder = any(name.startswith(f"{part.file}/") for name in part.weights)
        used |= set(part.weights) | (set() if is_folder else {part.file}) | ({part.source} if part.source else set())
    _check_listed(folder, manifest, used)
    for name in manifest.files:
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


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``phantom.json``."""
    (folder / MANIFEST).write_text(_text(to_json(manifest)), encoding="utf-8")


def _text(document: dict[str, Any]) -> str:
    """The sealed text of a manifest's document; the seal changes only with the rest."""
    document = document | {"seal": UNSEALED}
    return sealed(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sealed(text: str) -> str:
    """A manifest's text with its seal in place of the zeros."""
    return text.replace(_seal(UNSEALED), _seal(hashlib.sha256(text.encode()).hexdigest()))


def _seal(digest: str) -> str:
    return f'"seal": "{digest}"'


def record_proof(bundle: Bundle, proof: Proof) -> Bundle:
    """Write ``proof`` into the manifest, and nothing else: programs inside a bundle read it as it was exported.

    Returns the new bundle.
    """
    document = _read_document(bundle.path)
    with whole_file(bundle.path / MANIFEST) as file:
        file.write(_text(document | {"proof": to_json(proof)}))
    return Bundle(bundle.path, read_manifest(bundle.path))

"""``proof.json``: the comparison of a bundle with its checkpoint, apart from the manifest that says how to run it."""

from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from phantom_edge.bundle.manifest import UNSEALED
from phantom_edge.bundle.proof import Proof
from phantom_edge.bundle.seal import is_sealed, sealed_text
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.files import whole_addition
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.typed import WrongJson, from_json, to_json

PROOF = "proof.json"


@dataclass(frozen=True)
class ProofFile:
    """A proof, and the bundle that it belongs to."""

    bundle: str
    """Seal of the ``phantom.json`` that was compared, in hexadecimal."""
    proof: Proof
    """Comparison with the checkpoint."""
    seal: str
    """SHA-256 of this file, in hexadecimal, with 64 zeros in place of the seal."""


def write_proof(folder: Path, seal: str, proof: Proof) -> None:
    """Write the proof of the bundle in ``folder``, whose manifest has this seal."""
    with whole_addition(folder, PROOF) as file:
        file.write(sealed_text(to_json(ProofFile(seal, proof, UNSEALED))))


def read_proof(folder: Path, seal: str) -> Proof | None:
    """The proof of the bundle in ``folder``, whose manifest has this seal; None where it has none.

    Raises EdgeError for a proof that is damaged or belongs to another bundle.
    """
    path = folder / PROOF
    again = f"verify it again: phantom-edge verify {quote(str(folder))} --record"
    if path.is_dir():
        raise EdgeError(f"{path} is a folder, not a file", f"remove it, then {again}")
    if path.exists() and not path.is_file():
        raise EdgeError(f"{path} is no plain file", again)
    try:
        text = path.read_text(encoding="utf-8")
        document = parse_json(text)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise EdgeError(f"{path} cannot be read ({type(error).__name__})", again) from error
    try:
        found = from_json(ProofFile, document)
    except WrongJson as error:
        raise EdgeError(f"{path}: {error}", again) from error
    if not is_sealed(text, found.seal):
        raise EdgeError(f"{path} is not the file that was recorded: its seal does not fit", again)
    if found.bundle != seal:
        raise EdgeError(f"{path} is the proof of another bundle", again)
    return found.proof

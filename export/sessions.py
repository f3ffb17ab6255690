"""Sessions of bundles for any target."""

from pathlib import Path
from shlex import quote

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets import caution_of, target_of
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.runtime.session import Session


def session_of(bundle: Bundle, threads: int = 0) -> Session:
    """A session with the engine of the bundle's target; with ``threads`` 0 the engine chooses their number.

    Raises EdgeError where no engine here runs the target, or its package is not installed.
    """
    return Session(bundle, target_of(bundle).engine()(bundle, threads))


def open_session(path: Path | str, threads: int = 0, begin: Counting = no_progress) -> Session:
    """Opens the session of a bundle's folder; ``begin`` counts the bytes checked first.

    Raises EdgeError as ``session_of``, and for a bundle that does not match its manifest.
    """
    return session_of(Bundle.open(path, begin=begin), threads)


def notes_on(bundle: Bundle) -> list[str]:
    """Lines that whoever runs a bundle should read: that it is not verified, or failed, and its target's caution."""
    proof, path = bundle.proof, bundle.path
    notes = [caution_of(bundle)]
    if proof is None:
        command = f"phantom-edge verify {quote(str(path))} --record"
        notes.insert(0, f"{path} is unverified: no proof that it computes its model; run: {command}")
    elif not proof.passed:
        notes.insert(
            0, f"{path} FAILED its verification: it does not compute its model; export it again: phantom-edge export"
        )
    return [note for note in notes if note]

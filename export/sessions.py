"""Sessions of bundles for any target."""

from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets import target_of
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

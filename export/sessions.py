"""Sessions of bundles, whatever their target."""

from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets import target_of
from phantom_edge.foundation.progress import Counting, no_progress
from phantom_edge.runtime.session import Session


def session_of(bundle: Bundle, threads: int = 0) -> Session:
    """A session that the engine of the bundle's target runs; ``threads`` 0 lets it choose.

    Raises EdgeError where nothing here runs the target, or a package that does is not installed.
    """
    return Session(bundle, target_of(bundle).engine()(bundle, threads))


def open_session(path: Path | str, threads: int = 0, begin: Counting = no_progress) -> Session:
    """The session of a bundle's folder; ``begin`` counts the bytes that are checked first.

    Raises EdgeError for a bundle that does not match its manifest.
    """
    return session_of(Bundle.open(path, begin=begin), threads)

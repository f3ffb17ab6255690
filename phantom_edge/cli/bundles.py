"""Open a bundle to run it, and check what was given before anything heavy is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING

from phantom_edge.bundle.folder import is_bundle
from phantom_edge.cli.console import note, progress
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.bundle.folder import Bundle
    from phantom_edge.runtime.session import Session


def open_bundle(folder: str) -> "Session":
    """Open the session of a bundle, with a note where it is not verified."""
    from phantom_edge.export.sessions import notes_on, open_session

    note("loading ...")
    with progress("checking") as begin:
        session = open_session(folder, begin=begin)
    for line in notes_on(session.bundle):
        note(line)
    return session


def note_caution(bundle: "Bundle") -> None:
    """Print the caution that belongs to a bundle's engine, if any."""
    from phantom_edge.export.targets import caution_of

    caution = caution_of(bundle)
    if caution:
        note(caution)


def check_model(model: str) -> None:
    """Raises EdgeError for a path that is neither bundle nor checkpoint, before anything heavy is loaded."""
    path = Path(model)
    remedy = f"give a bundle, a checkpoint folder, {NAME} (it is inside this package), or a hub id"
    if path.is_dir() and not is_bundle(path) and not (path / "config.json").exists():
        raise EdgeError(
            f"{model} is neither a bundle nor a checkpoint: it has no phantom.json and no config.json", remedy
        )
    if not _is_there(path) and model != NAME and model.count("/") != 1:
        raise EdgeError(f"there is no folder {model}", remedy)


def check_triples(source: Path | str | None) -> None:
    """Raises EdgeError for a file of triples that is not there; globs and addresses are left to their reader."""
    text = str(source)
    if source is not None and not any(mark in text for mark in ("*", "?", "[", "://")) and not _is_there(Path(text)):
        raise EdgeError(f"there is no file {source}", "give the path of a JSONL file of triples")


def _is_there(path: Path) -> bool:
    """True for a path that exists; false for one that the system refuses, such as one that is too long."""
    try:
        return path.exists()
    except OSError:
        return False

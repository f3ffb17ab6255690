"""The folder of this user for what profiles leave behind."""

import os
import sys
from pathlib import Path

from phantom_edge.foundation.errors import EdgeError


def home() -> Path:
    """Where a user's data lie on this system, or where ``PHANTOM_EDGE_HOME`` says. Raises EdgeError for no home."""
    if given := os.environ.get(HOME):
        return Path(given)
    try:
        return _data() / "phantom-edge"
    except RuntimeError as error:  # in containers, users may have numbers only
        raise EdgeError("this user has no home folder", f"set {HOME} to a folder") from error


HOME = "PHANTOM_EDGE_HOME"


def _data() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support"
    given = os.environ.get("XDG_DATA_HOME", "")
    # the XDG base directory specification: a path that is not absolute is to be ignored
    return Path(given) if Path(given).is_absolute() else Path.home() / ".local/share"

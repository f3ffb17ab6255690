"""Installed distributions, and the extras that install missing ones. Standard library only, for ``doctor``."""

import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from shlex import quote

__version__ = "0.1.0"


def installed(name: str) -> str | None:
    """Version of a distribution, None if absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def extra_with(distribution: str) -> str | None:
    """The extra of ours that requires a distribution; None where none does or our own metadata is absent."""
    try:
        lines = metadata.requires("phantom-edge") or ()
    except metadata.PackageNotFoundError:
        return None
    for line in lines:
        found = re.match(rf"{re.escape(distribution)}\b(?!-).*\bextra == ['\"]([\w-]+)", line)
        if found and found[1] not in ("dev", "all"):
            return found[1]
    return None


ROOT = Path(__file__).resolve().parents[2]
"""The clone that this package runs from, where it does."""


UPDATE = "update phantom-edge: git pull in its clone, then pip install . there"
"""Remedy where a file is of a newer version. No index has the package yet."""


def install_command(extra: str) -> str:
    """The pip command that adds an extra: to the clone that runs, or to the installed package.

    No index has the package yet. Beside an installed one pip asks none for it, and only adds the extra's own.
    """
    if not (ROOT / "pyproject.toml").is_file():
        return f"pip install 'phantom-edge[{extra}]'"
    clone = "." if Path.cwd() == ROOT else str(ROOT)
    return f"pip install -e {quote(f'{clone}[{extra}]')}"


@dataclass(frozen=True)
class Clash:
    """Versions known not to work together; the clash holds where every package matches."""

    packages: dict[str, str]
    harm: str
    remedy: str

"""Installed distributions, and the extras that install missing ones. Standard library only, for ``doctor``."""

import re
from dataclasses import dataclass
from importlib import metadata

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


@dataclass(frozen=True)
class Clash:
    """Versions known not to work together; the clash holds where every package matches."""

    packages: dict[str, str]
    harm: str
    remedy: str

"""What is installed, and what brings what is not. Needs the standard library only, so that a doctor can ask."""

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
    """The extra of ours that asks for a distribution, None where none does or our own metadata is not there."""
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
    """Versions that are known not to work together; every package must match for the clash to hold."""

    packages: dict[str, str]
    harm: str
    remedy: str

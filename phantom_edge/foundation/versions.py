"""Which version of a distribution is installed. Needs the standard library only, so that a doctor can ask."""

from importlib import metadata


def installed(name: str) -> str | None:
    """Version of a distribution, None if absent."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None

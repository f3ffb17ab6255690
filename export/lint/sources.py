"""Sources of rules."""

from dataclasses import dataclass

GITHUB = "https://github.com"


@dataclass(frozen=True)
class Source:
    """A page, an issue or a file."""

    title: str
    url: str

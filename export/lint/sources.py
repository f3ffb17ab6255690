"""Where rules come from."""

from dataclasses import dataclass

GITHUB = "https://github.com"


@dataclass(frozen=True)
class Source:
    """A page, an issue, a file."""

    title: str
    url: str

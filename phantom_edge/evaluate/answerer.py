"""What an evaluation asks: anything that answers questions about pictures, whatever runs it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Picture = Path | bytes
"""A file, or an encoded picture as a benchmark's table holds it."""

Progress = Callable[[int], None]
"""Is told how many questions were answered since the last call."""


@dataclass(frozen=True)
class Query:
    """A question about ``images``, which come first unless ``<image>`` marks in it place them."""

    question: str
    images: tuple[Picture, ...] = ()


class Answerer(Protocol):
    """Answers questions. All are handed over at once, so that it can group and batch them as suits its runtime."""

    def answer(self, queries: Sequence[Query], progress: Progress) -> list[str]:
        """One text a query, in the order of the queries. Raises EdgeError for a query that cannot be answered."""
        ...

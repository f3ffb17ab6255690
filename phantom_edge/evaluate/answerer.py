"""What an evaluation asks: anything that answers questions about pictures, whatever runs it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from phantom_edge.data.examples import Query

Progress = Callable[[int], None]
"""Is told how many questions were answered since the last call."""


class Answerer(Protocol):
    """Answers questions. All are handed over at once, so that it can group and batch them as suits its runtime."""

    def answer(self, queries: Sequence[Query], progress: Progress) -> list[str]:
        """One text a query, in the order of the queries. Raises EdgeError for a query that cannot be answered."""
        ...

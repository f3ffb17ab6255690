"""The protocol of evaluated models: questions about pictures in, answers out, on any runtime."""

from collections.abc import Callable, Sequence
from typing import Protocol

from phantom_edge.data.examples import Query

Progress = Callable[[int], None]
"""``progress(n)``: n more questions are answered."""


class Answerer(Protocol):
    """Answers questions. It receives all at once, to batch them as suits its runtime."""

    def answer(self, queries: Sequence[Query], progress: Progress) -> list[str]:
        """Returns one text a query, in the queries' order. Raises EdgeError for a query that cannot be answered."""
        ...

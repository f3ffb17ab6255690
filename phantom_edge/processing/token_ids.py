"""Token ids against the rows of a model's embedding: a tokenizer may know more tokens than the model."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from phantom_edge.foundation.errors import EdgeError

NAMED = 3
"""Number of tokens beyond the embedding that a message names."""


def check_vocabulary(vocabulary: Mapping[str, int], rows: int, folder: Path) -> None:
    """Raises EdgeError for a tokenizer that knows ids beyond the ``rows`` of the model's embedding.

    Fewer are fine: released models pad their embeddings.
    """
    beyond = sorted((index, token) for token, index in vocabulary.items() if index >= rows)
    if not beyond:
        return
    names = ", ".join(repr(token) for _, token in beyond[:NAMED])
    more = f" and {len(beyond) - NAMED} more" if len(beyond) > NAMED else ""
    raise EdgeError(
        f"the tokenizer of {folder} knows ids up to {beyond[-1][0]}, the model's vocabulary has {rows}: {names}{more}",
        "copy the tokenizer files of the checkpoint's source into it",
    )


def check_ids(ids: Iterable[int], rows: int, text_of: Callable[[int], str | None]) -> None:
    """Raises EdgeError for a prompt with ids beyond the ``rows`` of the model's embedding."""
    largest = max(ids, default=0)
    if largest >= rows:
        token = text_of(largest)
        raise EdgeError(
            f"the tokenizer gives id {largest} for {token!r}, the model's vocabulary has {rows}",
            "leave this text out, or take the tokenizer files of the checkpoint's source (and export again)",
        )

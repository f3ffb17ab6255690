"""A manifest's facts about LiteRT's graphs."""

from dataclasses import dataclass

from phantom_edge.bundle.numbers import MOST_CONTEXT, check_rules


@dataclass(frozen=True)
class LiteRtFacts:
    """Facts that a host of the graphs needs, beside their ports."""

    rows: int
    """Rows of the arrays of the cache: ``max_context``, and those that the padding of a last chunk is written to."""
    masked: float
    """Addition to the logits of positions that a token does not attend to; ``mask`` is 0 at the others."""

    container: str = ""
    """File for LiteRT-LM, with the graphs, tokenizer and chat template; empty where there is none."""

    def __post_init__(self) -> None:
        check_rules(rows=0 < self.rows <= 2 * MOST_CONTEXT, masked=self.masked <= -1e4)

    def files(self) -> tuple[str, ...]:
        """See Facts."""
        return (self.container,) if self.container else ()

    def lines(self) -> tuple[tuple[str, str], ...]:
        """See Facts."""
        return (
            ("caches", f"{self.rows:,} rows, written in place"),
            ("for LiteRT-LM", self.container or "no container"),
        )

    def caution(self) -> str:
        """See Facts."""
        return ""

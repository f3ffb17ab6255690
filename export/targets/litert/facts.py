"""A manifest's facts about LiteRT's graphs."""

from dataclasses import dataclass
from itertools import pairwise

from phantom_edge.bundle.numbers import MOST_CONTEXT, check_rules
from phantom_edge.export.targets.litert.names import Compute

SCRIPT, METADATA = "compile.py", "metadata.pb"
"""Program that compiles the graphs for a chip, and the container's metadata, which it puts beside them."""


@dataclass(frozen=True)
class LiteRtFacts:
    """Facts that a host of the graphs needs, beside their ports."""

    rows: int
    """Rows of the arrays of the cache: ``max_context``, and those that the padding of a last chunk is written to."""
    masked: float
    """Addition to the logits of positions that a token does not attend to; ``mask`` is 0 at the others."""

    compute: Compute = "cpu"
    """Processor that the graphs are drawn for. For npu the decoder reads the caches alone: the parts ``mask`` and
    ``rope`` compute its other inputs, and ``update`` writes its new rows; those of a chunk begin with ``chunk_``."""
    chip: str = ""
    """Chip that ``compile.py`` compiles the graphs for, on a machine with its maker's compiler; empty where none was
    named."""
    firsts: tuple[int, ...] = ()
    """Numbers of rows, smallest first: parts ``decoder_first_N`` and ``chunk_first_N`` attend to the first N rows of
    the caches alone, and are quicker where all tokens stand there."""
    container: str = ""
    """File for LiteRT-LM, with the graphs, tokenizer and chat template; empty where there is none."""

    def __post_init__(self) -> None:
        check_rules(
            rows=0 < self.rows <= 2 * MOST_CONTEXT,
            masked=self.masked <= -1e4,
            firsts=all(0 < one < other for one, other in pairwise((*self.firsts, self.rows))),
        )

    def files(self) -> tuple[str, ...]:
        """See Facts."""
        return (*filter(None, (self.container,)), *((SCRIPT, METADATA) if self.chip else ()))

    def lines(self) -> tuple[tuple[str, str], ...]:
        """See Facts."""
        return (
            ("for", f"{self.compute}{f' of {self.chip}' if self.chip else ''}"),
            ("caches", f"{self.rows:,} rows, written in place"),
            *(
                (("attends to", ", ".join(f"{one:,}" for one in (*self.firsts, self.rows)) + " rows"),)
                if self.firsts
                else ()
            ),
            ("for LiteRT-LM", self.container or "no container"),
        )

    def caution(self) -> str:
        """See Facts."""
        return ""

"""Where the time of a step goes: what a runtime's own profiler reports, for every engine that has one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.bundle.folder import Bundle

TILE = "vision, a tile"
"""Name of the step of a tile in tables and plots; see also ``chunk_named`` and ``token_named``."""

OTHER = "other"
"""Group of nodes whose names hold no place in the model."""

LONGEST = 1e7
"""Seconds: more than a hundred days is no measurement."""


def chunk_named(tokens: int) -> str:
    """Name of the step of a chunk in tables and plots."""
    return f"prefill, {tokens} tokens"


def token_named(context: int) -> str:
    """Name of the step of a token behind ``context`` cached ones."""
    return f"a token behind {context:,}"


@dataclass(frozen=True)
class Group:
    """The ``seconds`` that one step of ``part`` spends in ``calls`` nodes of one operator, by the runtime's profiler.

    ``group`` is the place in the model that they belong to. A part has the roofline's name.
    """

    group: str
    operator: str
    seconds: float
    calls: int
    part: str = ""


@dataclass(frozen=True)
class Traced:
    """A part with a trace, by medians over ``steps``: its seconds, profiler overhead included.

    ``toll`` is the profiler overhead per node (measured on a no-op), subtracted from every node. ``outside`` is the
    time before and after the runtime's own run, in which inputs and outputs are handed over.
    """

    part: str
    steps: int
    seconds: float
    toll: float = 0.0
    outside: float = 0.0


Found = tuple[list[Traced], list[Group]]
Pass = Callable[[Bundle, int, Sequence[int], Path], Found]
"""Traces a bundle on so many threads: a tile, a chunk, and tokens behind the first and the last of the depths.

Raises EdgeError for what the runtime does not report. The folder is for its files.
"""


def behind(depths: Sequence[int], chunk: int) -> list[int]:
    """The first and the last of ``depths``; a chunk where there are none."""
    return list(dict.fromkeys((depths[0], depths[-1]) if depths else (chunk,)))


@dataclass(frozen=True)
class DumpedOperator:
    """An operator in a profiler's dump: how often it ran, and milliseconds of all its runs."""

    operator: str
    is_delegated: bool
    calls: int
    milliseconds: float


@dataclass(frozen=True)
class Dump:
    """A dump that a device's own profiler wrote: milliseconds of all runs, and operators, the slowest first."""

    milliseconds: float
    operators: tuple[DumpedOperator, ...]

    @property
    def delegated(self) -> float:
        """Milliseconds in operators of a delegate."""
        return sum(one.milliseconds for one in self.operators if one.is_delegated)

"""Time of a step by operators, from the runtime's own profiler, for every engine that has one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.bundle.folder import Bundle

TILE = "vision, a tile"
"""Name of a tile's step in tables and plots; see also ``chunk_named`` and ``token_named``."""

OTHER = "other"
"""Group of nodes whose names hold no place in the model."""

LONGEST = 1e7
"""Longest plausible time, seconds: a hundred days."""


def chunk_named(tokens: int) -> str:
    """Name of a chunk's step in tables and plots."""
    return f"prefill, {tokens} tokens"


def token_named(context: int) -> str:
    """Name of the step of a token after ``context`` cached ones."""
    return f"a token behind {context:,}"


@dataclass(frozen=True)
class Group:
    """The ``seconds`` that one step of ``part`` spends in ``calls`` nodes of one operator, by the runtime's profiler.

    ``group`` is their place in the model. Parts are named as in the roofline.
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
"""Traces a bundle: ``(bundle, threads, depths, folder for the profiler's files)``.

Steps are a tile, a chunk, and tokens after the first and the last of the depths. Raises EdgeError for what the runtime
does not report.
"""


def behind(depths: Sequence[int], chunk: int) -> list[int]:
    """The first and the last of ``depths``; a chunk where there are none."""
    return list(dict.fromkeys((depths[0], depths[-1]) if depths else (chunk,)))


@dataclass(frozen=True)
class DumpedOperator:
    """An operator in a profiler's dump: number of calls, and milliseconds of them all."""

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

"""Traces of ONNX Runtime's profiler, by the places in the model after which our graphs' nodes are named.

Fused nodes keep the names of ours. Nodes that the optimizer inserts have other names, and get the place of the nodes
that run before and after them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from phantom_edge.bundle.node_names import PLACES
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.json_file import parse_json
from phantom_edge.runtime.tracing import OTHER

KERNEL, RUN = "_kernel_time", "model_run"
"""Ending of a node's event name, and name of a whole run's event, which follows those of its nodes."""


IDLE = frozenset(("Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze"))
"""Operators that compute nothing and move nothing."""

MICRO = 1e-6


@dataclass(frozen=True)
class Kernel:
    """One execution of a node: its name, its operator, and its seconds, in whole microseconds."""

    name: str
    operator: str
    seconds: float

    @property
    def place(self) -> str | None:
        """The innermost place in its name."""
        return next((word for word in reversed(self.name.split("/")) if word in PLACES), None)


@dataclass(frozen=True)
class Ran:
    """A whole run: its kernels, in order, and its seconds."""

    kernels: tuple[Kernel, ...]
    seconds: float


def toll(run: Sequence[Kernel]) -> float:
    """Profiler overhead per node, seconds: it writes its record before it reads the clock again.

    Measured as the mean over a run's no-ops, of which there are many.
    """
    return mean([kernel.seconds for kernel in run if kernel.operator in IDLE] or [0.0])


def places_of(run: Sequence[Kernel]) -> list[str]:
    """Returns the place of every kernel of a run; ``OTHER`` for a nameless one between two places."""
    before, after = _last_places(run), _last_places(run[::-1])[::-1]
    return [
        earlier or later or OTHER if earlier == later or None in (earlier, later) else OTHER
        for earlier, later in zip(before, after, strict=True)
    ]


def _last_places(run: Sequence[Kernel]) -> list[str | None]:
    """Returns the place of each kernel, or of the last one before it that has one."""
    found: list[str | None] = []
    for kernel in run:
        found.append(kernel.place or (found[-1] if found else None))
    return found


def read_trace(path: Path) -> list[Ran]:
    """Reads every run in a trace. Raises EdgeError for a damaged or truncated one."""
    try:
        return list(_runs(parse_json(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EdgeError(
            f"ONNX Runtime's profiler wrote what cannot be read ({type(error).__name__})",
            "see that the disk of temporary files has space left, or leave it out: --no-operators",
        ) from error


def _runs(events: Iterable[dict[str, Any]]) -> Iterator[Ran]:
    found: list[Kernel] = []
    for event in events:
        name, seconds = str(event["name"]), MICRO * int(event["dur"])
        if event["cat"] == "Node" and name.endswith(KERNEL):
            found.append(Kernel(name.removesuffix(KERNEL), str(event["args"]["op_name"]), seconds))
        if event["cat"] == "Session" and name == RUN:
            yield Ran(tuple(found), seconds)
            found = []

"""Every backend of ExecuTorch that programs are made for, by the name that ``--backend`` takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_edge.export.program.importing import executorch


@dataclass(frozen=True)
class Backend:
    """``name`` is ExecuTorch's own; ``partitioners`` choose what it is handed."""

    name: str
    partitioners: Callable[[], Sequence[Any]]


def _xnnpack() -> Sequence[Any]:
    return [executorch("executorch.backends.xnnpack.partition.xnnpack_partitioner").XnnpackPartitioner()]


BACKENDS = {"xnnpack": Backend("XnnpackBackend", _xnnpack), "portable": Backend("", lambda: [])}

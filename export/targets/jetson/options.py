"""Options of target jetson."""

from dataclasses import dataclass

from phantom_edge.export.targets.jetson.boards import MODULES
from phantom_edge.export.targets.target import Options, listed, option


@dataclass(frozen=True)
class JetsonOptions(Options):
    """``board`` is the module, which sets the memory limit of the engine builder."""

    board: str = option(
        "orin-nano",
        f"Jetson module: {listed(MODULES)}; sets the memory limit of the engine builder.",
        choices=tuple(MODULES),
    )

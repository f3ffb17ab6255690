"""Options of target jetson."""

from dataclasses import dataclass

from phantom_edge.export.targets.jetson.boards import MODULES
from phantom_edge.export.targets.target import Options, listed, option


@dataclass(frozen=True)
class JetsonOptions(Options):
    """``board``: the module, which decides how much memory the builder of engines may use."""

    board: str = option(
        "orin-nano",
        f"Module: {listed(MODULES)}; it decides how much memory the builder of engines may use.",
        choices=tuple(MODULES),
    )

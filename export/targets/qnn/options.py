"""Options of target qnn."""

from dataclasses import dataclass

from phantom_edge.export.targets.qnn.chips import SOCS, soc_named
from phantom_edge.export.targets.target import Options, listed, option


@dataclass(frozen=True)
class QnnOptions(Options):
    """``soc`` is the chip; with ``share_weights`` the decoder's functions share one file."""

    soc: str = option("sm8650", f"Chip: {listed(SOCS)}.")
    share_weights: bool = option(
        False,
        "Write one file for all functions of the decoder: nearly half the size, but only a device loads it.",
        short=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        soc_named(self.soc)

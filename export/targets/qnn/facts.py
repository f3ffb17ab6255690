"""A manifest's facts about graphs for Hexagon."""

import platform
import re
import sys
from dataclasses import dataclass

from phantom_edge.bundle.fixed_shapes import FixedShapes
from phantom_edge.bundle.numbers import check_rules
from phantom_edge.export.targets.qnn.chips import SOCS


@dataclass(frozen=True)
class HexagonFacts(FixedShapes):
    """Facts about a chip with a Hexagon tensor processor."""

    name: str
    """Name of the chip."""
    soc: int
    """Identifier of the chip in Qualcomm's compiler, a whole number."""
    arch: int
    """Version of the processor's architecture, as in Qualcomm's compiler."""
    sdk: str
    """Version of the compiler; an older one does not load its files."""
    shared: bool
    """True where one file holds the weights of all functions of the decoder."""
    ranges: str
    """File of the least and the largest number of every tensor."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rules(soc=self.soc > 0, arch=self.arch > 0, sdk=re.fullmatch(r"\d+(\.\d+)*", self.sdk) is not None)

    def files(self) -> tuple[str, ...]:
        """See Facts."""
        return (self.rotary, self.ranges)

    def lines(self) -> tuple[tuple[str, str], ...]:
        """See Facts."""
        sold = f" ({SOCS[self.name].sold_as})" if self.name in SOCS else ""
        shared = "; the decoder's functions share one file, which only a device loads" if self.shared else ""
        return (("for", f"{self.name}{sold}, compiled by QNN {self.sdk}{shared}"),)

    def caution(self) -> str:
        """See Facts."""
        return STAND_IN if self.shared and is_simulated() else ""


def is_simulated() -> bool:
    """True where bundles run in the simulator, not on a processor."""
    return platform.machine() in ("x86_64", "AMD64") and sys.platform == "linux"


STAND_IN = "the simulator loads no file that functions share: its source graphs were compiled apart, and run"

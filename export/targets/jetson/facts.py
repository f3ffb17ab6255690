"""A manifest's facts about a board."""

import re
from dataclasses import dataclass

from phantom_edge.bundle.numbers import check_rules


@dataclass(frozen=True)
class BoardFacts:
    """Facts by which a bundle's own runner builds engines on the board."""

    name: str
    """Name of the board."""
    tensorrt: str
    """Least version of TensorRT."""
    jetpack: str
    """First version of JetPack with that TensorRT."""
    workspace_megabytes: int
    """Most memory, in megabytes, that the builder may use beside the weights."""
    runner: str
    """File of the program that builds, checks and runs engines."""
    golden: str
    """File of inputs and the checkpoint's outputs, against which a new engine is checked."""

    def __post_init__(self) -> None:
        check_rules(
            tensorrt=re.fullmatch(r"\d+(\.\d+)*", self.tensorrt) is not None,
            workspace_megabytes=self.workspace_megabytes > 0,
        )

    def files(self) -> tuple[str, ...]:
        """See Facts."""
        return (self.runner, self.golden)

    def lines(self) -> tuple[tuple[str, str], ...]:
        """See Facts."""
        return (("for", f"{self.name}, TensorRT {self.tensorrt} or later (JetPack {self.jetpack})"),)

    def caution(self) -> str:
        """See Facts."""
        return ""

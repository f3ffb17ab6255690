"""A manifest's facts about a board."""

import re
from dataclasses import dataclass

from phantom_edge.bundle.numbers import check_rules


@dataclass(frozen=True)
class BoardFacts:
    """Facts by which a bundle's own runner builds engines on the board.

    ``tensorrt`` is the least version, ``jetpack`` the first that has it. The builder may use ``workspace_megabytes``.
    ``golden`` is a file of inputs and the checkpoint's outputs: a new engine is checked against it.
    """

    name: str
    tensorrt: str
    jetpack: str
    workspace_megabytes: int
    runner: str
    golden: str

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

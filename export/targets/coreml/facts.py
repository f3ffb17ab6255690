"""A manifest's facts about packages for Apple's systems."""

from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.fixed_shapes import FixedShapes
from phantom_edge.bundle.numbers import check_rules


@dataclass(frozen=True)
class AppleFacts(FixedShapes):
    """Facts about packages for Apple's systems."""

    compute: Literal["gpu", "ane"]
    """Compute unit: the GPU, or ane, the Neural Engine."""
    ios: int
    """Least release of iOS, its major version, and the macOS of its year."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rules(ios=self.ios in (17, 18, 27))

    def lines(self) -> tuple[tuple[str, str], ...]:
        """See Facts."""
        return (("for", f"iOS {self.ios} or later, {COMPUTES[self.compute]}"),)

    def caution(self) -> str:
        """See Facts."""
        return ""


MULTIPLE = 32
"""Divisor of a cached row's width that Apple's compiler needs (coremltools issue 2631)."""

COMPUTES = {"gpu": "GPU", "ane": "Neural Engine"}

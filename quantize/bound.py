"""What a recipe search is asked for: the schemes to choose from, and an upper bound of size or divergence."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from phantom_edge.checkpoint.quantized.schemes import FLOAT, SCHEMES
from phantom_edge.foundation.errors import UsageError

CHOICES = ("int4-g128-pos", "int4-g64-pos", "int4-g32-pos", "int8", FLOAT)
"""Schemes to choose from; a unit skips those whose groups do not divide its rows."""


def check_choices(names: Iterable[str]) -> None:
    """Raises UsageError where a name is no scheme, or one that a mixture cannot choose."""
    for name in names:
        if name not in SCHEMES and name != FLOAT:
            raise UsageError(f"there is no scheme '{name}'", f"choose from: {', '.join((*SCHEMES, FLOAT))}")
        if name != FLOAT and SCHEMES[name].static_inputs:
            raise UsageError(f"{name} is no choice of a mixture", "choose schemes that leave inputs float")


@dataclass(frozen=True)
class Bound:
    """Upper bound of a mixture: megabytes of weights, or divergence in nats. Exactly one is given."""

    megabytes: float | None = None
    divergence: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.megabytes, self.divergence) if value is not None]
        if len(given) != 1:
            raise UsageError("there is not one bound", "give either --megabytes or --divergence")
        if not (math.isfinite(given[0]) and given[0] > 0):
            raise UsageError(f"the bound is {given[0]:g}", "give a number above 0")

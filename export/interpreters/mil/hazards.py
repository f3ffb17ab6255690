"""Hazards of float16 in a program: operations whose results overflow, vanish, or turn into NaN.

Measured on each operation's float32 results before rounding, from the inputs of the same run. In mode "exact" these
carry no rounding of earlier operations, in the other modes they do.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.call import Notes

LARGEST = 65520.0
"""The least magnitude that rounds to infinity."""

NORMAL = 2.0**-14
"""Smallest normal number; some devices flush smaller ones to 0."""

VANISHES = 2.0**-25
"""The largest magnitude that rounds to 0."""


@dataclass(frozen=True)
class Hazard:
    """Counts of one operation's output numbers, over all observed runs."""

    name: str
    type: str
    elements: int = 0
    nans: int = 0  # where no input had any
    overflows: int = 0  # to infinity, where no input was infinite; inside of the operation too, if mode is "strict"
    infinite: int = 0  # where an input was infinite
    masked_rows: int = 0  # of a softmax: all scores at most -1e4
    flushed: int = 0  # not 0, but 0 in float16
    subnormal: int = 0  # not 0 in float16, but below its normal numbers
    largest: float = 0.0  # finite magnitude

    @property
    def flushed_share(self) -> float:
        """Share of numbers that vanish in float16."""
        return self.flushed / max(self.elements, 1)

    @property
    def subnormal_share(self) -> float:
        """Share of numbers that are subnormal in float16."""
        return self.subnormal / max(self.elements, 1)

    @property
    def severity(self) -> tuple[int, int, int, float, float]:
        """Sort key, larger for worse hazards."""
        return (self.nans, self.overflows, self.masked_rows, self.flushed_share, self.subnormal_share)


class Hazards:
    """Collects the hazards of every operation that an interpreter runs."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, str], Hazard] = {}

    def table(self, least_share: float = 0.01) -> list[Hazard]:
        """Operations with hazards, the worst first.

        Vanishing or subnormal numbers count from a share of ``least_share``: every softmax has some.
        """
        listed = [
            one
            for one in self.found.values()
            if one.nans
            or one.overflows
            or one.masked_rows
            or max(one.flushed_share, one.subnormal_share) >= least_share
        ]
        return sorted(listed, key=lambda one: one.severity, reverse=True)

    def observe(
        self, name: str, kind: str, inputs: list[Tensor], outputs: list[tuple[Tensor, bool]], notes: Notes
    ) -> None:
        """Adds one run of an operation; each output has a flag for float16. Clears ``notes``."""
        old = self.found.get((name, kind), Hazard(name, kind))
        new = replace(old, overflows=old.overflows + notes.overflows, masked_rows=old.masked_rows + notes.masked_rows)
        notes.overflows = notes.masked_rows = 0
        floats = [one for one in inputs if one.is_floating_point()]
        for tensor, is_half in outputs:
            if tensor.is_floating_point() and tensor.numel():
                new = _counted(new, floats, tensor, is_half)
        self.found[name, kind] = new


def _counted(old: Hazard, inputs: list[Tensor], x: Tensor, is_half: bool) -> Hazard:
    size = x.abs()
    largest, nans, beyond, came_in = float(size.max()), 0, 0, False
    if not largest < (LARGEST if is_half else torch.inf):  # or NaN
        nans = _count(x.isnan())
        if nans and any(bool(one.isnan().any()) for one in inputs):
            nans = 0
        beyond = _count(size >= LARGEST) if is_half else _count(size.isinf())
        came_in = beyond > 0 and any(bool(one.isinf().any()) for one in inputs)
        largest = float(torch.where(size.isfinite(), size, 0.0).max())
    flushed = below = 0
    if is_half:
        above = _count(size > VANISHES)
        flushed, below = _count(size > 0) - above, above - _count(size >= NORMAL)
    return replace(
        old,
        elements=old.elements + x.numel(),
        nans=old.nans + nans,
        overflows=old.overflows + (0 if came_in else beyond),
        infinite=old.infinite + (beyond if came_in else 0),
        flushed=old.flushed + flushed,
        subnormal=old.subnormal + below,
        largest=max(old.largest, largest),
    )


def _count(true: Tensor) -> int:
    return int(true.count_nonzero())

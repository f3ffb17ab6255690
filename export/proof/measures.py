"""Differences between a bundle and its reference, accumulated block by block."""

from dataclasses import dataclass, field

import numpy as np
import torch

from phantom_edge.bundle.proof import ABSOLUTE, DIVERGENCE, OTHERS, RELATIVE
from phantom_edge.runtime.engine import Floats

TIE = 4e-6
"""Logits within this share of the largest are a tie: the order of float32 sums decides it, in the reference, too."""


@dataclass
class Tally:
    """Differences, accumulated block by block."""

    difference: float = 0.0
    magnitude: float = 0.0
    divergences: list[float] = field(default_factory=list)
    others: list[bool] = field(default_factory=list)

    def add(self, found: Floats, wanted: torch.Tensor, *, is_logits: bool) -> None:
        """Adds rows of both; a number that is not finite makes every measure infinite."""
        ours = torch.from_numpy(np.asarray(found, np.float64))
        theirs = wanted.double()
        off = float((ours - theirs).abs().max())
        self.difference = max(self.difference, off) if np.isfinite(off) else float("inf")
        self.magnitude = max(self.magnitude, float(theirs.abs().max()))
        if is_logits:
            chosen = theirs.gather(-1, ours.nan_to_num().argmax(-1, keepdim=True))[..., 0]
            behind = theirs.amax(-1) - chosen
            self.others += (behind > TIE * theirs.abs().amax(-1)).tolist()
            apart = (theirs.log_softmax(-1) - ours.log_softmax(-1)) * theirs.softmax(-1)
            self.divergences += apart.sum(-1).nan_to_num(nan=float("inf")).tolist()

    def measures(self) -> dict[str, float | None]:
        """All measures of the rows added, by name; None where not finite."""
        found: dict[str, float] = {RELATIVE: self.difference / max(self.magnitude, 1e-9), ABSOLUTE: self.difference}
        if self.others:
            found[DIVERGENCE] = max(float(np.mean(self.divergences)), 0.0)
            found[OTHERS] = float(np.mean(self.others))
        return {name: value if np.isfinite(value) else None for name, value in found.items()}

"""Conversion between the host's arrays and ports of graphs for Hexagon."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_edge.runtime.engine import Floats
from phantom_edge.runtime.steps import Arrays


class HeadLayout:
    """A row a token, a matrix a head; cached keys are columns, though new ones are rows (npu).

    A kv head's queries lie together, so the mask is repeated for each. Sines of the first half are negative.
    """

    is_state = False

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def inputs(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """See Layout."""
        return {
            "inputs_embeds": rows,
            "cosines": np.concatenate([cosines, cosines], axis=-1)[None],
            "sines": np.concatenate([-sines, sines], axis=-1)[None],
            "mask": np.tile(mask, (self.groups, 1))[None],
        }

    def image_tokens(self, found: NDArray[Any]) -> NDArray[Any]:
        """See Layout."""
        return found

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """See Layout."""
        return hidden[place : place + 1]

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """See Layout."""
        for name, new in found.items():
            if name.startswith("new_key"):
                cache[f"past{name[3:]}"][..., start : start + real] = new[:, :real].swapaxes(1, 2)
            elif name.startswith("new_value"):
                cache[f"past{name[3:]}"][:, start : start + real] = new[:, :real]

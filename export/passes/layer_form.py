"""A decoder layer as the passes leave it, and how its tensors are read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from phantom_edge.export.passes.fold import FoldedMaps
from phantom_edge.export.passes.rank import Bases

Read = Callable[[str], Tensor]
"""The tensor of that name in our layout."""


@dataclass(frozen=True)
class LayerForm:
    """What the passes made of one layer."""

    maps: FoldedMaps
    bases: Bases


def gate_of(read: Read, own: str) -> Iterator[Tensor]:
    """Weights (1, d) of an attention's gate for the plain and the phantom half, then biases (1,); in float64.

    ``own`` is what the names of the attention's tensors begin with.
    """
    for what in ("weight", "bias"):
        for part in ("plain", "phantom"):
            yield read(f"{own}gate_{part}.{what}").double()

"""A decoder layer as the passes leave it, and how its tensors are read."""

from collections.abc import Callable
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

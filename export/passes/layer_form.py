"""Form of a decoder layer after the passes, and reading of its tensors."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from phantom_edge.export.passes.fold import FoldedMaps
from phantom_edge.export.passes.rank import Bases

Read = Callable[[str], Tensor]
"""Returns the tensor of a name in our layout."""


@dataclass(frozen=True)
class LayerForm:
    """Folded maps and phantom bases of one layer."""

    maps: FoldedMaps
    bases: Bases


def gate_of(read: Read, own: str) -> Iterator[Tensor]:
    """Weights (1, d) of an attention's gate for the plain and the phantom half, then biases (1,); in float64.

    ``own`` is the prefix of the attention's tensor names.
    """
    for what in ("weight", "bias"):
        for part in ("plain", "phantom"):
            yield read(f"{own}gate_{part}.{what}").double()

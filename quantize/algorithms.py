"""Every algorithm, by the name that recipes give."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from phantom_edge.checkpoint.quantized.algorithm_names import AlgorithmName
from phantom_edge.checkpoint.quantized.schemes import Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.quantize.layers import Solve
from phantom_edge.quantize.rounding import nearest
from phantom_edge.quantize.solvers import fitted, gptq, hqq


@dataclass(frozen=True)
class Algorithm:
    """How integers are found.

    ``plain`` needs the weight alone; ``solve`` what a decoder's layer reads, too, and where it is there finds all that
    is in those. ``balances``: inputs are scaled first, by an error that counts tokens alike, or by what the loss feels.
    ``moves_zeros``: it does more than rounding only where a scheme has zero points. ``trains``: it learns palettes from
    answers, with the whole model in memory.
    """

    plain: Callable[[Tensor, Scheme], Quantized]
    solve: Solve | None = None
    balances: bool | None = None
    feels: bool = False
    passes_on_errors: bool = False
    moves_zeros: bool = False
    trains: bool = False

    @property
    def calibrates(self) -> bool:
        """Whether it needs samples."""
        return self.trains or self.solve is not None


def _fitted(weight: Tensor, scheme: Scheme) -> Quantized:
    return fitted(weight, scheme, None)


def _hqq(weight: Tensor, scheme: Scheme) -> Quantized:
    """HQQ where it can; zero points are all that it moves, and symmetric schemes have none."""
    return nearest(weight, scheme) if scheme.symmetric else hqq(weight, scheme, None)


ALGORITHMS: dict[AlgorithmName, Algorithm] = {
    "rtn": Algorithm(nearest),
    "hqq": Algorithm(_hqq, moves_zeros=True),
    "gptq": Algorithm(_fitted, gptq, passes_on_errors=True),
    "awq": Algorithm(_fitted, fitted, balances=True),
    "mbq": Algorithm(_fitted, fitted, balances=True, feels=True),
    "dkm": Algorithm(nearest, trains=True),
}
"""Round to nearest; HQQ; GPTQ (arXiv 2210.17323); activation-aware scales (AWQ, 2306.00978); the same with errors
weighed by modality (MBQ, 2412.19509); palettes by differentiable k-means (DKM, 2108.12659)."""

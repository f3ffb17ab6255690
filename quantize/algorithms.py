"""Quantization algorithms, by their names in recipes."""

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
    """One way to choose integers.

    ``plain`` needs the weight alone; ``solve``, if any, is used for the decoder's layers, and needs their inputs, too.
    ``balances``: inputs are scaled first, to minimize an error that weights tokens alike, or by the loss' gradient with
    ``uses_gradients``. ``passes_on_errors``: later layers read the outputs of quantized ones. ``moves_zeros``: needs a
    scheme with zero points to do more than round. ``trains``: learns palettes from answers, with the whole model in
    memory.
    """

    plain: Callable[[Tensor, Scheme], Quantized]
    solve: Solve | None = None
    balances: bool | None = None
    uses_gradients: bool = False
    passes_on_errors: bool = False
    moves_zeros: bool = False
    trains: bool = False

    @property
    def calibrates(self) -> bool:
        """True where the algorithm needs samples."""
        return self.trains or self.solve is not None


def _fitted(weight: Tensor, scheme: Scheme) -> Quantized:
    return fitted(weight, scheme, None)


def _hqq(weight: Tensor, scheme: Scheme) -> Quantized:
    """HQQ, or rounding to nearest for symmetric schemes: HQQ moves zero points, and these have none."""
    return nearest(weight, scheme) if scheme.symmetric else hqq(weight, scheme, None)


ALGORITHMS: dict[AlgorithmName, Algorithm] = {
    "rtn": Algorithm(nearest),
    "hqq": Algorithm(_hqq, moves_zeros=True),
    "gptq": Algorithm(_fitted, gptq, passes_on_errors=True),
    "awq": Algorithm(_fitted, fitted, balances=True),
    "mbq": Algorithm(_fitted, fitted, balances=True, uses_gradients=True),
    "dkm": Algorithm(nearest, trains=True),
}
"""Round to nearest; HQQ; GPTQ (arXiv 2210.17323); activation-aware scales (AWQ, 2306.00978); the same with errors
weighted by modality (MBQ, 2412.19509); palettes by differentiable k-means (DKM, 2108.12659)."""

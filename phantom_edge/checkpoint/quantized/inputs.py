"""Fixed scales for inputs of quantized layers, and torch modules that compute with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from phantom_edge.checkpoint.quantized.weights import LEAST, MOST, as_float16

LEVELS = 256


@dataclass(frozen=True)
class Inputs:
    """Numbers are ``(integer - zero_point) * scale``, with integers from 0 to 255; the scale is a float16 number."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (LEAST <= self.scale <= MOST and self.scale == float(np.float16(self.scale))):
            raise ValueError("scale is no normal float16")
        if not 0 <= self.zero_point < LEVELS:
            raise ValueError("zero_point is not from 0 to 255")

    @property
    def low(self) -> float:
        """Smallest representable number."""
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        """Largest representable number."""
        return (LEVELS - 1 - self.zero_point) * self.scale

    def rounded(self, x: Tensor) -> Tensor:
        """Nearest representable numbers."""
        integers = (x / self.scale).round() + self.zero_point
        return (integers.clamp(0, LEVELS - 1) - self.zero_point) * self.scale


def ranged(rows: Tensor) -> Inputs:
    """The scale that covers all of ``rows``, up to its rounding to float16."""
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    scale = float(as_float16(torch.tensor((high - low) / (LEVELS - 1))))
    return Inputs(scale, min(max(round(-low / scale), 0), LEVELS - 1))


def fix_inputs(module: nn.Module, inputs: Mapping[str, Inputs], start: str = "", *, rounds: bool = True) -> None:
    """Let the layers of ``module`` round their inputs to ``inputs``, or with ``rounds`` off clamp them to that range.

    ``inputs`` are by the names of weights, of which ``module``'s begin with ``start``.
    """

    def fix(about: Inputs) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
        return lambda _module, given: (about.rounded(given[0]) if rounds else given[0].clamp(about.low, about.high),)

    for name, about in inputs.items():
        layer = module.get_submodule(name.removeprefix(start).removesuffix(".weight"))
        layer.register_forward_pre_hook(fix(about))

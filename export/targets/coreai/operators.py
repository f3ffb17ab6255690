"""Operators of Core ML's builder with which functions of packages are drawn, in torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from phantom_edge.export.targets.coreml.layouts import PRODUCT


class Operators:
    """Builder's operators that the Channels layout needs, with the same names and arguments."""

    @staticmethod
    def add(x: Any, y: Any) -> Tensor:
        """Sum; a plain number is a float16."""
        found: Tensor = _number(x) + _number(y)
        return found

    @staticmethod
    def sub(x: Any, y: Any) -> Tensor:
        """Difference."""
        found: Tensor = _number(x) - _number(y)
        return found

    @staticmethod
    def mul(x: Any, y: Any) -> Tensor:
        """Product."""
        found: Tensor = _number(x) * _number(y)
        return found

    @staticmethod
    def concat(values: Sequence[Tensor], axis: int) -> Tensor:
        """Concatenates tensors."""
        return torch.cat(list(values), axis)

    @staticmethod
    def split(
        x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Sequence[int] | None = None
    ) -> Sequence[Tensor]:
        """Splits into equal parts, or parts of these sizes."""
        return torch.split(x, list(split_sizes) if split_sizes else x.shape[axis] // (num_splits or 1), axis)

    @staticmethod
    def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
        """Reshapes a tensor."""
        return x.reshape(tuple(map(int, shape)))

    @staticmethod
    def transpose(x: Tensor, perm: Sequence[int]) -> Tensor:
        """Permutes axes."""
        return x.permute(tuple(perm))

    @staticmethod
    def slice_by_index(x: Tensor, begin: Sequence[int], end: Sequence[int]) -> Tensor:
        """A block."""
        for axis, (first, last) in enumerate(zip(begin, end, strict=True)):
            if (first, last) != (0, x.shape[axis]):
                x = x.narrow(axis, first, last - first)
        return x

    @staticmethod
    def layer_norm(x: Tensor, axes: Sequence[int], epsilon: np.float16) -> Tensor:
        """Layer norm over one axis, without weights. The converter's own norm is over the last."""
        (axis,) = axes
        last = x.movedim(axis, -1)
        return F.layer_norm(last, last.shape[-1:], eps=float(epsilon)).movedim(-1, axis)

    @staticmethod
    def gelu(x: Tensor) -> Tensor:
        """GELU with the error function."""
        return F.gelu(x)

    @staticmethod
    def silu(x: Tensor) -> Tensor:
        """``x * sigmoid(x)``."""
        return F.silu(x)

    @staticmethod
    def sigmoid(x: Tensor) -> Tensor:
        """The logistic function."""
        return x.sigmoid()

    @staticmethod
    def softmax(x: Tensor, axis: int) -> Tensor:
        """Softmax over one axis."""
        return x.softmax(axis)

    @staticmethod
    def einsum(values: Sequence[Tensor], equation: str) -> Tensor:
        """Products per head, as a product of matrices."""
        assert equation == PRODUCT
        left, right = (one.transpose(1, 2) for one in values)
        return (left @ right).transpose(1, 2)

    @staticmethod
    def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None, pad_type: str = "valid") -> Tensor:
        """Convolution of stride 1."""
        assert pad_type == "valid"
        return F.conv2d(x, weight, bias)

    @staticmethod
    def pixel_unshuffle(x: Tensor, downscale_factor: np.uint32) -> Tensor:
        """Squares of pixels as features, in no more than five dimensions."""
        _, width, height, _ = x.shape
        side = int(downscale_factor)
        short = height // side
        squares = x.reshape(width, short, side, short, side).permute(0, 2, 4, 1, 3)
        return squares.reshape(1, width * side**2, short, short)


def _number(x: Any) -> Any:
    """Returns a tensor unchanged, and a float16 number as a Python float."""
    return x if isinstance(x, Tensor) else float(x)

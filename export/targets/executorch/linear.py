"""Quantized layers, in the operator patterns of ExecuTorch's delegates and kernels.

The integers and scales are the checkpoint's own. Inputs of linear layers are rounded to 8 bits at run time, row by row:
in this release XNNPACK has no other quantized linear layer (without that rounding it silently drops the scales).
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from phantom_edge.checkpoint.quantized.weights import Quantized, packed

LOW, HIGH = -128, 127
HALF = 8
"""Middle of four bits; three bits are stored in four, too."""

MakeLinear = Callable[[str, str | None], nn.Module]
"""Makes a linear layer from the names of a weight and a bias."""


def fixed(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Returns a linear layer of constants: ``weight`` (rows, columns) and ``bias`` (rows,), in float32."""
    rows, columns = weight.shape
    layer = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    layer.weight = constant(weight)
    if bias is not None:
        layer.bias = constant(bias)
    return layer


def constant(tensor: Tensor) -> nn.Parameter:
    """Returns a float32 parameter that is not trained."""
    return nn.Parameter(tensor.detach().float().contiguous(), requires_grad=False)


class RoundedLinear(nn.Module):
    """``rounded(x) @ held.dequantize().T + bias``, of a symmetric scheme: signed integers, whose zero is 0."""

    integers: Tensor
    scales: Tensor
    zeros: Tensor

    def __init__(self, held: Quantized, bias: Tensor | None = None) -> None:
        super().__init__()
        self.scheme = held.scheme
        scales = held.scales.float()
        in_groups = held.scheme.group is not None
        self.register_buffer("integers", signed(held))
        self.register_buffer("scales", scales if in_groups else scales[:, 0].contiguous())
        self.register_buffer("zeros", torch.zeros_like(self.scales, dtype=torch.int8 if in_groups else torch.int64))
        self.bias = None if bias is None else constant(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., columns) to (..., rows)."""
        ops = torch.ops.quantized_decomposed
        scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
        given = ops.quantize_per_token(x, scale, zero, LOW, HIGH, torch.int8)
        given = ops.dequantize_per_token(given, scale, zero, LOW, HIGH, torch.int8, torch.float32)
        return nn.functional.linear(given, self._weight(), self.bias)

    def _weight(self) -> Tensor:
        ops, held = torch.ops.quantized_decomposed, (self.integers, self.scales, self.zeros)
        if self.scheme.group is None:
            return cast(Tensor, ops.dequantize_per_channel(*held, 0, LOW, HIGH, torch.int8))
        about = (-HALF, HALF - 1, torch.int8, self.scheme.group, torch.float32)
        return cast(Tensor, ops.dequantize_per_channel_group(*held, *about))


class FloatEmbedding(nn.Module):
    """Rows of a table (rows, width)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = constant(table)

    def forward(self, ids: Tensor) -> Tensor:
        """Maps token ids int64 (1, N) to (1, N, width)."""
        return nn.functional.embedding(ids, self.table)


class RoundedEmbedding(nn.Module):
    """Rows of ``held.dequantize()``, of a symmetric scheme."""

    integers: Tensor
    scales: Tensor

    def __init__(self, held: Quantized) -> None:
        super().__init__()
        self.scheme = held.scheme
        integers = signed(held)
        if self.is_packed:  # the first of two in the high half
            integers = packed((integers + HALF).to(torch.uint8).view(len(integers), -1, 2).flip(-1).flatten(1))
        self.register_buffer("integers", integers)
        scales = held.scales.float()
        self.register_buffer("scales", scales[:, 0].contiguous() if held.scheme.group is None else scales)

    @property
    def is_packed(self) -> bool:
        """True where two integers share a byte."""
        return self.scheme.bits < 8

    def forward(self, ids: Tensor) -> Tensor:
        """Maps token ids int64 (1, N) to (1, N, width)."""
        ops = torch.ops.quantized_decomposed
        if self.is_packed:
            return cast(Tensor, ops.embedding_4bit(self.integers, self.scales, None, -HALF, HALF - 1, ids))
        return cast(Tensor, ops.embedding_byte(self.integers, self.scales, None, LOW, HIGH, ids))


def signed(held: Quantized) -> Tensor:
    """Returns int8 integers (rows, columns) around 0."""
    assert held.zero_points is None and held.palettes is None
    return (held.integers.short() - held.scheme.middle).to(torch.int8)

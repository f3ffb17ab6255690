"""The decoder for delegates without ExecuTorch's fused attention: one token at a time, in plain products.

All shapes are fixed and the position stays a tensor, so no shape depends on data. Core ML and Vulkan both take a finite
mask, and a cache that is written by selection, not by an index, as a whole.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.export.passes.layer_form import LayerForm, Read
from phantom_edge.export.targets.executorch.decoder import Attention, Norm, Start, TextDecoder
from phantom_edge.export.targets.executorch.linear import MakeLinear
from phantom_edge.export.targets.executorch.vision import CentredNorm
from phantom_edge.models.config import PhantomTextConfig

UNSEEN = -1e4
"""Added to masked scores; float16 holds it."""


class PlainAttention(Attention):
    """Attention whose cache has the layout of its products, (kv_heads, context, width)."""

    def __init__(
        self, config: PhantomTextConfig, form: LayerForm, number: int, read: Read, linear: MakeLinear, context: int
    ) -> None:
        super().__init__(config, form, number, read, linear, context)
        for rows in ("keys", "values"):
            self.register_buffer(rows, torch.zeros(self.kv_heads, context, self.dim + self.rank))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, start: Start, mask: Tensor | None) -> Tensor:
        """See Attention, for one token; ``start`` (context, 1) is true before its place.

        Later rows are masked until they are written anew: so the token is written to all of them, and a cache may
        begin with any numbers, as memory of a device does.
        """
        assert mask is not None
        heads, width = self.kv_heads, query.shape[-1]
        for held, new in ((self.keys, key), (self.values, value)):
            held.copy_(torch.where(start, held, new.view(heads, 1, width)))
        scores = query.view(heads, -1, width) * (1 / math.sqrt(self.dim)) @ self.keys.permute(0, 2, 1) + mask
        return (scores.softmax(-1) @ self.values).view(1, 1, self.heads, width)


class PlainDecoder(TextDecoder):
    """TextDecoder of one token: ``inputs_embeds`` (1, 1, hidden).

    ExecuTorch's multimodal runner passes whole segments, so an app must pass this decoder single rows.
    """

    added: Tensor
    attends = PlainAttention
    at_once = 1

    def __init__(
        self, config: PhantomTextConfig, forms: Sequence[LayerForm], read: Read, linear: MakeLinear, context: int
    ) -> None:
        super().__init__(config, forms, read, linear, context)
        self.register_buffer("places", torch.arange(context))  # integers: float16 counts to 2,048
        self.register_buffer("added", torch.tensor([0.0, UNSEEN]))

    def forward(self, inputs_embeds: Tensor, start_pos: Tensor) -> Tensor:
        """See the class."""
        rope = self.cosines.index_select(0, start_pos), self.sines.index_select(0, start_pos)
        unseen = self.places > start_pos
        if self.window is not None:
            unseen = torch.logical_or(unseen, self.places <= start_pos - self.window)
        before = (self.places < start_pos)[:, None]
        mask = torch.where(unseen, self.added[1:], self.added[:1])
        return self.logits(inputs_embeds, rope, before, mask)


class HalfNorm(Norm):
    """RMSNorm as LayerNorm of ``[x, -x]``, whose mean is 0: float16 holds no squares of numbers above 255."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., width) to the same shape."""
        both = torch.cat([x, -x], dim=-1)
        return F.layer_norm(both, both.shape[-1:], eps=self.eps)[..., : x.shape[-1]] * self.weight


class HalfCentredNorm(CentredNorm):
    """LayerNorm as one operator."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., width) to the same shape."""
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


def for_half(module: nn.Module) -> nn.Module:
    """Returns the same function with norms that take no square outside of an operator."""
    for one in module.modules():
        if isinstance(one, Norm | CentredNorm):
            one.__class__ = HalfNorm if isinstance(one, Norm) else HalfCentredNorm
    return module

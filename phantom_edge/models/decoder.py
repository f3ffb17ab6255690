"""The one decoder: pre-norm RMSNorm, phantom attention, SwiGLU."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Cache, GradientCheckpointingLayer

from phantom_edge.models.attention import PhantomAttention
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.precision import wide


class RMSNorm(nn.Module):
    """x / rms(x) * weight, computed in float32 at least (``F.rms_norm`` is lowered wrongly by Core ML's converter)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        normed = x.to(wide(x.dtype))
        normed = normed * torch.rsqrt(normed.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: PhantomTextConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class PhantomDecoderLayer(GradientCheckpointingLayer):
    """Attention, then MLP, each behind its norm."""

    def __init__(self, config: PhantomTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = PhantomAttention(config, layer_idx)
        self.mlp = SwiGLU(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        rope: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        sentinel_index: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        attended, _ = self.self_attn(
            self.input_layernorm(hidden_states), rope, attention_mask, past_key_values, sentinel_index, **kwargs
        )
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))

"""Rotary tables without state: every call computes those of its positions.

The reference keeps tables on the module, so a long prompt changes later short ones (dynamic NTK). Here the
variant is chosen per row from the largest position seen, so a padded row equals the same prompt alone.

Dynamic NTK past the trained length, and longrope past the original one, rotate by the length so far. Keys in a cache
keep the rotation that they were written with, in the reference as here; so there, and only there, a prompt fed in
chunks or token by token differs from the same prompt in one forward.
"""

import math
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomTextConfig


def rotary_tables(config: PhantomTextConfig, position_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines for ``position_ids`` (B, N), each (B, N, head_dim) in float32."""
    rope = config.rope_parameters
    assert rope is not None
    kind = rope.get("rope_type", "default")
    if kind not in ROPE_KINDS:
        raise EdgeError(
            f"rope type '{kind}' is not one of {', '.join(ROPE_KINDS)}", "check rope_parameters in config.json"
        )
    largest = position_ids.max(dim=1, keepdim=True).values + 1  # (B, 1)
    frequencies, scale = ROPE_KINDS[kind](config, rope, largest)  # (B or 1, head_dim / 2)
    angles = position_ids[:, :, None].float() * frequencies[:, None, :]  # (B, N, head_dim / 2)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos() * scale, angles.sin() * scale


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``x`` (B, H, N, d) by tables (B, N, d), half against half."""
    cos, sin = cos[:, None].to(x.dtype), sin[:, None].to(x.dtype)
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * cos + turned * sin


def _exponents(dim: int, device: torch.device) -> Tensor:
    return torch.arange(0, dim, 2, dtype=torch.int64, device=device).float() / dim


def _default(config: PhantomTextConfig, rope: dict[str, Any], largest: Tensor) -> tuple[Tensor, float]:
    frequencies = 1.0 / rope["rope_theta"] ** _exponents(config.head_dim, largest.device)
    return frequencies[None], 1.0


def _linear(config: PhantomTextConfig, rope: dict[str, Any], largest: Tensor) -> tuple[Tensor, float]:
    frequencies, scale = _default(config, rope, largest)
    return frequencies / rope["factor"], scale


def _dynamic(config: PhantomTextConfig, rope: dict[str, Any], largest: Tensor) -> tuple[Tensor, float]:
    """Dynamic NTK: past the trained length the base grows with the length (InternLM2)."""
    factor, trained, dim = rope["factor"], config.max_position_embeddings, config.head_dim
    length = largest.clamp(min=trained).float()
    growth = (factor * length / trained - (factor - 1)) ** (dim / (dim - 2))  # (B, 1), 1 up to the trained length
    return 1.0 / (rope["rope_theta"] * growth) ** _exponents(dim, largest.device), 1.0


def _longrope(config: PhantomTextConfig, rope: dict[str, Any], largest: Tensor) -> tuple[Tensor, float]:
    """Phi-3's "su": one factor a frequency, the long ones once a position passes the original length."""
    original = rope["original_max_position_embeddings"]
    plain, _ = _default(config, rope, largest)
    short = torch.tensor(rope["short_factor"], dtype=torch.float32, device=largest.device)
    long = torch.tensor(rope["long_factor"], dtype=torch.float32, device=largest.device)
    factors = torch.where(largest > original, long[None], short[None])  # (B, d/2)
    ratio = config.max_position_embeddings / original
    scale = rope.get("attention_factor")
    if scale is None:
        scale = math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0
    return plain / factors, float(scale)


def _yarn(config: PhantomTextConfig, rope: dict[str, Any], largest: Tensor) -> tuple[Tensor, float]:
    frequencies, scale = ROPE_INIT_FUNCTIONS["yarn"](config, largest.device)
    return frequencies[None].float(), float(scale)


ROPE_KINDS = {"default": _default, "linear": _linear, "dynamic": _dynamic, "longrope": _longrope, "yarn": _yarn}

"""Vision tower and projector as one ExecuTorch method: from bytes of a tile to image tokens.

Pixels are the picture's own: existing apps normalize each in its own way, so the method normalizes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.executorch.linear import MakeLinear, constant, fixed
from phantom_edge.models.config import PhantomConfig, PhantomVisionConfig
from phantom_edge.models.tensor_names import PROJECTOR, TOWER
from phantom_edge.models.vision import pixel_shuffle
from phantom_edge.processing.tiling import Tiling

PROJECTOR_EPS = nn.LayerNorm(1).eps


class CentredNorm(nn.Module):
    """LayerNorm, in operators that delegates take: its mean is a product with a constant."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = constant(weight), constant(bias), eps
        self.mean = fixed(torch.full((1, len(weight)), 1 / len(weight)))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (..., width) to the same shape."""
        x = x - self.mean(x)
        return x * torch.rsqrt(self.mean(x * x) + self.eps) * self.weight + self.bias


class VisionBlock(nn.Module):
    """A layer of the tower."""

    def __init__(self, config: PhantomVisionConfig, name: str, read: Read, linear: MakeLinear) -> None:
        super().__init__()
        self.heads, self.dim = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        self.norm1, self.norm2 = (
            CentredNorm(read(f"{name}{norm}.weight"), read(f"{name}{norm}.bias"), config.layer_norm_eps)
            for norm in ("norm1", "norm2")
        )
        self.qkv = linear(f"{name}attn.qkv.weight", f"{name}attn.qkv.bias" if config.qkv_bias else None)
        self.proj, self.fc1, self.fc2 = (
            linear(f"{name}{part}.weight", f"{name}{part}.bias") for part in ("attn.proj", "mlp.fc1", "mlp.fc2")
        )
        self.ls1, self.ls2 = constant(read(f"{name}ls1")), constant(read(f"{name}ls2"))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (1, 1 + patches, width) to the same shape."""
        x = x + self.proj(self._mixed(self.norm1(x))) * self.ls1
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x)))) * self.ls2
        return out

    def _mixed(self, x: Tensor) -> Tensor:
        _, tokens, width = x.shape
        both = self.qkv(x)
        parts = (both[..., start : start + width] for start in range(0, 3 * width, width))
        query, key, value = (part.view(tokens, self.heads, self.dim).permute(1, 0, 2) for part in parts)  # (H, N, d)
        scores = torch.bmm(query * (1 / math.sqrt(self.dim)), key.permute(0, 2, 1))
        return torch.bmm(scores.softmax(-1), value).permute(1, 0, 2).reshape(1, tokens, width)


class VisionEncoder(nn.Module):
    """Maps ``pixels`` uint8 (1, 3, S, S) of one tile to image tokens (1, tokens_per_tile, hidden)."""

    spread: Tensor
    centre: Tensor

    def __init__(self, config: PhantomConfig, tiling: Tiling, read: Read, linear: MakeLinear) -> None:
        super().__init__()
        vision = config.vision
        self.side, self.block, self.patch = vision.patches_per_side, config.pixel_block, vision.patch_size
        mean, std = (torch.tensor(one, dtype=torch.float64).view(1, 3, 1, 1) for one in (tiling.mean, tiling.std))
        self.register_buffer("spread", (1 / (255 * std)).float())
        self.register_buffer("centre", (mean / std).float())
        self.weight, self.bias = (constant(read(f"{TOWER}patch_embedding.{part}")) for part in ("weight", "bias"))
        positions = read(f"{TOWER}position_embedding").float()
        self.first = constant(read(f"{TOWER}class_embedding").float() + positions[:, :1])
        self.positions = constant(positions[:, 1:])
        self.layers = nn.ModuleList(
            VisionBlock(vision, f"{TOWER}layers.{number}.", read, linear) for number in range(vision.num_hidden_layers)
        )
        self.norm = CentredNorm(read(f"{PROJECTOR}norm.weight"), read(f"{PROJECTOR}norm.bias"), PROJECTOR_EPS)
        self.fc1, self.fc2 = (linear(f"{PROJECTOR}{part}.weight", f"{PROJECTOR}{part}.bias") for part in ("fc1", "fc2"))

    def forward(self, pixels: Tensor) -> Tensor:
        """See the class."""
        x = pixels.float() * self.spread - self.centre
        x = F.conv2d(x, self.weight, self.bias, stride=self.patch)
        x = x.reshape(1, x.shape[1], self.side**2).permute(0, 2, 1) + self.positions
        x = torch.cat([self.first, x], dim=1)
        for layer in self.layers:
            x = layer(x)
        x = pixel_shuffle(x[:, 1:].reshape(1, self.side, self.side, x.shape[2]), self.block)
        out: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return out

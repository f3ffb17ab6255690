"""InternViT and the projector: a tile of pixels becomes image tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GradientCheckpointingLayer

from phantom_edge.models.config import PhantomConfig, PhantomVisionConfig


class VisionAttention(nn.Module):
    """Full attention over the patches, fused qkv as in the checkpoint."""

    def __init__(self, config: PhantomVisionConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        tiles, tokens, width = x.shape
        qkv = self.qkv(x).view(tiles, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (T, H, N, d)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(tiles, tokens, width))


class VisionMlp(nn.Module):
    """Linear, exact GELU, Linear."""

    def __init__(self, config: PhantomVisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class VisionLayer(GradientCheckpointingLayer):
    """Pre-norm block; LayerScale ``ls1`` and ``ls2`` weigh the two branches."""

    def __init__(self, config: PhantomVisionConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = VisionAttention(config)
        self.ls1 = nn.Parameter(torch.ones(config.hidden_size))
        self.norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = VisionMlp(config)
        self.ls2 = nn.Parameter(torch.ones(config.hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x)) * self.ls1
        return x + self.mlp(self.norm2(x)) * self.ls2


class VisionTower(nn.Module):
    """InternViT. Pixels (T, 3, S, S) to hidden states (T, 1 + patches, hidden), CLS first."""

    def __init__(self, config: PhantomVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embedding = nn.Parameter(torch.zeros(1, config.patches_per_side**2 + 1, config.hidden_size))
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, pixel_values: Tensor) -> Tensor:
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)  # (T, patches, hidden)
        cls = self.class_embedding.expand(patches.shape[0], -1, -1)
        x = torch.cat([cls, patches], dim=1) + self.position_embedding
        for layer in self.layers:
            x = layer(x)
        return x


def pixel_shuffle(x: Tensor, block: int) -> Tensor:
    """Merge each ``block`` x ``block`` square of patches into one token of block**2 times the channels.

    ``x`` (T, side, side, C) to (T, (side / block)**2, C * block**2): tokens row by row, and inside a token the
    square's patches row by row.
    """
    tiles, rows, columns, channels = x.shape
    x = x.view(tiles, rows // block, block, columns // block, block, channels)
    x = x.permute(0, 1, 3, 2, 4, 5)  # (T, rows / block, columns / block, block, block, C)
    return x.reshape(tiles, (rows // block) * (columns // block), block * block * channels)


class Projector(nn.Module):
    """LayerNorm, Linear, exact GELU, Linear: from shuffled patches to the decoder's width."""

    def __init__(self, config: PhantomConfig) -> None:
        super().__init__()
        merged = config.vision.hidden_size * config.pixel_block**2
        self.norm = nn.LayerNorm(merged)
        self.fc1 = nn.Linear(merged, config.text.hidden_size)
        self.fc2 = nn.Linear(config.text.hidden_size, config.text.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(x))))

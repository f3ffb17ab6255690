"""Vision tower and projector as one LiteRT graph: a tile of numbers from 0 to 1, rows of pixels, to image tokens.

Normalization lies in the weights of the first convolution, LayerScale in those of the layers before it where they are
floats: the GPU delegate computes another product where both stand side by side. Every shape has at most four
dimensions, which is what NPUs take.
"""

from functools import partial

import numpy as np
import torch

from phantom_edge.export.targets.litert.graph import Value
from phantom_edge.export.targets.litert.model_file import Array, ModelFile
from phantom_edge.export.targets.litert.names import ENCODE, IMAGE_TOKENS, IMAGES
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.weights import Weights
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import PROJECTOR, TOWER
from phantom_edge.processing.tiling import Tiling

PROJECTOR_EPS = 1e-5


class VisionGraph(Operators):
    """Draws ``images`` (1, S, S, 3) to ``image_tokens`` (1, tokens_per_tile, hidden)."""

    def __init__(self, config: PhantomConfig, tiling: Tiling, weights: Weights, file: ModelFile) -> None:
        super().__init__(file, ENCODE)
        self.config, self.vision, self.tiling, self.weights = config, config.vision, tiling, weights
        self.tokens, self.width = self.vision.patches_per_side**2 + 1, self.vision.hidden_size
        side = self.vision.image_size
        x = self._embedded(self.input(IMAGES, (1, side, side, 3)))
        for number in range(self.vision.num_hidden_layers):
            x = self._layer(x, f"{TOWER}layers.{number}.")
        self.output(IMAGE_TOKENS, self._projected(x))
        self.close()

    def _embedded(self, pixels: Value) -> Value:
        """CLS token and patches (1, N, width), with their positions."""
        width, patch, side = self.width, self.vision.patch_size, self.vision.patches_per_side
        weight = self.constant("patches.weight", (width, patch, patch, 3), self._patch_weight)
        bias = self.constant("patches.bias", (width,), self._patch_bias)
        found = self.reshape(self.patches(pixels, weight, bias), 1, side**2, width)
        first = self.constant("class_embedding", (1, 1, width), partial(self._floats, f"{TOWER}class_embedding"))
        name = f"{TOWER}position_embedding"
        positions = self.constant(name, (1, self.tokens, width), partial(self._floats, name))
        return self.add(self.concat([first, found], 1), positions)

    def _floats(self, name: str) -> Array:
        return np.asarray(self.weights.read(name).float())

    def _patch_weight(self) -> Array:
        """The kernel (rows, P, P, 3), over the deviations of channels."""
        weight = self.weights.read(f"{TOWER}patch_embedding.weight").double()
        spread = torch.tensor(self.tiling.std, dtype=torch.float64).view(1, 3, 1, 1)
        return np.asarray((weight / spread).permute(0, 2, 3, 1).contiguous().float())

    def _patch_bias(self) -> Array:
        """The bias less what the means of channels add."""
        weight, bias = (self.weights.read(f"{TOWER}patch_embedding.{part}").double() for part in ("weight", "bias"))
        mean, std = (torch.tensor(one, dtype=torch.float64) for one in (self.tiling.mean, self.tiling.std))
        return np.asarray((bias - weight.sum((2, 3)) @ (mean / std)).float())

    def _layer(self, x: Value, start: str) -> Value:
        eps = self.vision.layer_norm_eps
        x = self.add(x, self._attention(self._norm(x, f"{start}norm1", eps), start))
        inner = self.gelu(
            self._linear(self._norm(x, f"{start}norm2", eps), f"{start}mlp.fc1", self.vision.intermediate_size)
        )
        return self.add(x, self._linear(inner, f"{start}mlp.fc2", self.width, scale=f"{start}ls2"))

    def _norm(self, x: Value, name: str, eps: float) -> Value:
        """LayerNorm."""
        width = x.shape[-1]
        centred = self.sub(x, self.mean(x))
        deviation = self.add(self.mean(self.mul(centred, centred)), self.held(f"eps_{eps:g}", np.full((1, 1, 1), eps)))
        weight, bias = (self.weights.vector(self, f"{name}.{part}", width) for part in ("weight", "bias"))
        return self.add(self.mul(self.mul(centred, self.rsqrt(deviation)), weight), bias)

    def _linear(self, x: Value, name: str, rows: int, *, scale: str = "", has_bias: bool = True) -> Value:
        """Linear layer, its output multiplied by the vector called ``scale``."""
        is_folded = self.weights.scheme(f"{name}.weight") is None
        folded = scale if scale and is_folded else None
        weight = self.weights.matrix(self, f"{name}.weight", (rows, x.shape[-1]), folded)
        bias = self.weights.vector(self, f"{name}.bias", rows, folded) if has_bias else None
        found = self.dense(x, weight, bias)
        return found if is_folded or not scale else self.mul(found, self.weights.vector(self, scale, rows))

    def _attention(self, x: Value, start: str) -> Value:
        heads, width, tokens = self.vision.num_attention_heads, self.width, self.tokens
        dim = width // heads
        three = self._linear(x, f"{start}attn.qkv", 3 * width, has_bias=self.vision.qkv_bias)
        query, key, value = (
            self.transpose(self.reshape(part, 1, tokens, heads, dim), 0, 2, 1, 3)
            for part in self.split(three, [width] * 3)
        )
        query = self.mul(query, self.held("scale", np.full((1, 1, 1, 1), dim**-0.5)))
        mixed = self.product(self.softmax(self.product(query, key, turned=True)), value)
        mixed = self.reshape(self.transpose(mixed, 0, 2, 1, 3), 1, tokens, width)
        return self._linear(mixed, f"{start}attn.proj", width, scale=f"{start}ls1")

    def _projected(self, x: Value) -> Value:
        """Drops CLS, merges squares of patches (``models.vision.pixel_shuffle``), projects to the decoder's width."""
        width, side, block = self.width, self.vision.patches_per_side, self.config.pixel_block
        short, hidden = side // block, self.config.text.hidden_size
        x = self.cut(x, [0, 1, 0], [1, self.tokens - 1, width])
        x = self.reshape(x, short, block, short, block * width)
        x = self.reshape(self.transpose(x, 0, 2, 1, 3), 1, self.config.tokens_per_tile, block**2 * width)
        x = self._norm(x, f"{PROJECTOR}norm", PROJECTOR_EPS)
        return self._linear(self.gelu(self._linear(x, f"{PROJECTOR}fc1", hidden)), f"{PROJECTOR}fc2", hidden)

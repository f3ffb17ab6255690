"""The vision tower and the projector as a function of a Core ML package: a tile of pixels to image tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from phantom_edge.export.targets.coreml.graph import Drawing, Graph, half, port
from phantom_edge.export.targets.coreml.layouts import PRODUCT, Layout
from phantom_edge.export.targets.coreml.weights import Weights
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import PROJECTOR, TOWER

PROJECTOR_EPS = 1e-5
SHRUNK = 2.0**-4
"""Factor of the projector norm's input; its epsilon has the square. The result is the same but for the epsilon's
rounding. Without it, squares of the tower's outputs, several hundreds, exceed the range of float16 on a device that
computes them in it."""


def vision_scale(config: PhantomConfig) -> float:
    """Returns the queries' factor where attention is not fused, a float16 number."""
    return float(torch.tensor((config.vision.hidden_size // config.vision.num_attention_heads) ** -0.5).half())


class VisionFunction:
    """Draws the function."""

    def __init__(self, config: PhantomConfig, weights: Weights, layout: type[Layout]) -> None:
        self.config, self.vision, self.weights, self.layout = config, config.vision, weights, layout

    def draw(self, package: Drawing, name: str) -> None:
        """Draws ``pixel_values`` (1, 3, S, S) to ``image_tokens``."""
        side = self.vision.image_size
        package.function(name, [port("pixel_values", (1, 3, side, side))], [], self._tile)

    def _tile(self, graph: Graph) -> Mapping[str, Any]:
        tower = _Tower(self, self.layout(graph, self.weights))
        x = tower.patches(graph["pixel_values"])
        for number in range(self.vision.num_hidden_layers):
            x = tower.layer(x, f"{TOWER}layers.{number}.")
        return {"image_tokens": tower.projected(x)}


class _Tower:
    """Layers inside the function."""

    def __init__(self, own: VisionFunction, layout: Layout) -> None:
        self.own, self.vision, self.layout, self.mb, self.graph = own, own.vision, layout, layout.mb, layout.graph
        self.read = own.weights.read

    def patches(self, pixels: Any) -> Any:
        """CLS and patches, with their positions. As channels: squares of pixels first, and a convolution of 1 x 1."""
        mb, graph, read, patch, width = self.mb, self.graph, self.read, self.vision.patch_size, self.vision.hidden_size
        name, count = f"{TOWER}patch_embedding", self.vision.patches_per_side**2
        shape = (width, 3, patch, patch) if self.layout.is_fused else (width, 3 * patch**2, 1, 1)
        weight = graph.constant(f"{name}.weight", lambda: half(read(f"{name}.weight")).reshape(shape))
        bias = graph.held(f"{name}.bias", read(f"{name}.bias"))
        cls, places = read(f"{TOWER}class_embedding")[0], read(f"{TOWER}position_embedding")[0]
        if self.layout.is_fused:
            x = mb.conv(x=pixels, weight=weight, bias=bias, strides=[patch, patch], pad_type="valid")
            x = mb.transpose(x=mb.reshape(x=x, shape=[1, width, count]), perm=[0, 2, 1])
            cls, places = cls[None], places[None]
        else:
            x = mb.pixel_unshuffle(x=pixels, downscale_factor=np.uint32(patch))
            x = mb.reshape(x=x, shape=[1, 3 * patch**2, 1, count])
            x = mb.conv(x=x, weight=weight, bias=bias)
            cls, places = cls.T[None, :, None], places.T[None, :, None]
        x = mb.concat(values=[graph.held(f"{TOWER}class_embedding", cls), x], axis=self.layout.place)
        return mb.add(x=x, y=graph.held(f"{TOWER}position_embedding", places))

    def layer(self, x: Any, start: str) -> Any:
        """One layer."""
        mb, vector, read = self.mb, self.layout.vector, self.read
        eps = self.vision.layer_norm_eps
        found = self._attention(self._norm(x, f"{start}norm1", eps), start)
        x = mb.add(x=x, y=mb.mul(x=found, y=vector(f"{start}ls1", read(f"{start}ls1"))))
        inner = mb.gelu(x=self._linear(self._norm(x, f"{start}norm2", eps), f"{start}mlp.fc1"))
        found = self._linear(inner, f"{start}mlp.fc2")
        return mb.add(x=x, y=mb.mul(x=found, y=vector(f"{start}ls2", read(f"{start}ls2"))))

    def _linear(self, x: Any, name: str, *, has_bias: bool = True) -> Any:
        return self.layout.linear(x, f"{name}.weight", f"{name}.bias" if has_bias else None)

    def _norm(self, x: Any, name: str, eps: float) -> Any:
        vector, read = self.layout.vector, self.read
        x = self.mb.layer_norm(x=x, axes=[self.layout.feature], epsilon=np.float16(eps))
        x = self.mb.mul(x=x, y=vector(f"{name}.weight", read(f"{name}.weight")))
        return self.mb.add(x=x, y=vector(f"{name}.bias", read(f"{name}.bias")))

    def _attention(self, x: Any, start: str) -> Any:
        mb, layout, heads = self.mb, self.layout, self.vision.num_attention_heads
        three = self._linear(x, f"{start}attn.qkv", has_bias=self.vision.qkv_bias)
        query, key, value = (layout.heads(part, heads) for part in mb.split(x=three, num_splits=3, axis=layout.feature))
        if layout.is_fused:
            mixed = mb.scaled_dot_product_attention(query=query, key=key, value=value)
        else:
            mixed = self._by_heads(query, key, value, heads)
        return self._linear(layout.joined(mixed), f"{start}attn.proj")

    def _by_heads(self, query: Any, key: Any, value: Any, heads: int) -> Any:
        """Heads (1, d, H, N), one after another."""
        mb = self.mb
        query = mb.mul(x=query, y=np.float16(vision_scale(self.own.config)))
        key = mb.transpose(x=key, perm=[0, 3, 2, 1])  # (1, N, H, d)
        parts = ([one] if heads == 1 else mb.split(x=one, num_splits=heads, axis=2) for one in (query, key, value))
        found = []
        for one_query, one_key, one_value in zip(*parts, strict=True):
            scores = mb.softmax(x=mb.einsum(values=[one_key, one_query], equation=PRODUCT), axis=1)
            found.append(mb.einsum(values=[one_value, scores], equation=PRODUCT))
        return found[0] if heads == 1 else mb.concat(values=found, axis=2)

    def projected(self, x: Any) -> Any:
        """Drops CLS, merges squares of patches (``models.vision.pixel_shuffle``), projects to the decoder's width."""
        mb, config, width, side = self.mb, self.own.config, self.vision.hidden_size, self.vision.patches_per_side
        block = config.pixel_block
        short, tokens = side // block, config.tokens_per_tile
        if self.layout.is_fused:
            x = mb.slice_by_index(x=x, begin=[0, 1, 0], end=[1, 1 + side**2, width])
            x = mb.reshape(x=x, shape=[short, block, short, block * width])
            x = mb.reshape(x=mb.transpose(x=x, perm=[0, 2, 1, 3]), shape=[1, tokens, block**2 * width])
        else:
            x = mb.slice_by_index(x=x, begin=[0, 0, 0, 1], end=[1, width, 1, 1 + side**2])
            x = mb.reshape(x=x, shape=[1, width, side, side])
            x = mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(block))  # features first, squares inside
            x = mb.transpose(x=mb.reshape(x=x, shape=[1, width, block**2, tokens]), perm=[0, 2, 1, 3])
            x = mb.reshape(x=x, shape=[1, block**2 * width, 1, tokens])
        x = mb.mul(x=x, y=np.float16(SHRUNK))
        x = self._norm(x, f"{PROJECTOR}norm", PROJECTOR_EPS * SHRUNK**2)
        return self._linear(mb.gelu(x=self._linear(x, f"{PROJECTOR}fc1")), f"{PROJECTOR}fc2")

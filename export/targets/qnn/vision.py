"""Vision tower and projector for the HTP: a tile to its image tokens."""

from collections.abc import Iterable

import torch
from onnx_ir import Value

from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.onnx.vision import VisionParts
from phantom_edge.export.targets.qnn.fixed_point import FixedDrawing, Ranges
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.tensor_names import TOWER


class VisionDrawing(FixedDrawing, VisionParts):
    """Draws ``pixel_values`` (1, 3, S, S) to ``image_tokens`` (tokens_per_tile, hidden).

    With ``layers``, only those are drawn: from ``states`` (tokens, width) to the same, but for the first and the last.
    """

    def __init__(
        self,
        config: PhantomConfig,
        read: Read,
        integers: QuantizedFiles | None,
        ranges: Ranges | None,
        layers: range | None = None,
    ) -> None:
        super().__init__("vision", read, integers, ranges)
        self.config, self.vision = config, config.vision
        self.tokens = self.vision.patches_per_side**2 + 1
        drawn, states = layers or range(self.vision.num_hidden_layers), (self.tokens, self.vision.hidden_size)
        is_first, is_last = drawn.start == 0, drawn.stop == self.vision.num_hidden_layers
        x = (
            self._embedded()
            if is_first
            else self.fixed(self.input("states", states), f"vision.layer.{drawn.start - 1}")
        )
        x = self._layers(x, drawn)
        if is_last:
            self.begin("projector")
            self.output(self._projected(x), "image_tokens", (config.tokens_per_tile, config.text.hidden_size))
        else:
            self.output(x, "states", states)

    def _embedded(self) -> Value:
        """CLS token and patches, with their positions; patches do not overlap, so their convolution is a product."""
        vision, name = self.vision, f"{TOWER}patch_embedding"
        side, patch, width = vision.patches_per_side, vision.patch_size, vision.hidden_size
        size, channels = vision.image_size, vision.num_channels
        pixels = self.fixed(self.input("pixel_values", (1, channels, size, size)), "pixel_values")
        parts = self.reshape(pixels, channels, side, patch, side, patch)
        rows = self.reshape(self.op("Transpose", parts, perm=[1, 3, 0, 2, 4]), side**2, channels * patch**2)
        weight = self.static(f"{name}.weight", self.read(f"{name}.weight").reshape(width, -1).T)
        patches = self.op("MatMul", rows, weight)
        positions, bias = self.read(f"{TOWER}position_embedding").float()[0], self.read(f"{name}.bias").float()
        cls = self.static(f"{TOWER}class", self.read(f"{TOWER}class_embedding").float()[0] + positions[:1])
        placed = self.op("Add", patches, self.static(f"{TOWER}position_embedding", positions[1:] + bias))
        return self.op("Concat", cls, placed, axis=0)

    def _layers(self, x: Value, drawn: Iterable[int]) -> Value:
        for number in drawn:
            self.begin(f"vision.{number}")
            start = f"{TOWER}layers.{number}."
            x = self.op("Add", x, self._attention(self._norm(x, f"{start}norm1"), start))
            inner = self._mlp(self._norm(x, f"{start}norm2"), start)
            x = self.op("Add", x, inner, called=f"vision.layer.{number}")
        return x

    def _norm(self, x: Value, name: str, eps: float | None = None, width: int | None = None) -> Value:
        """Norm without its weights, which the HTP would keep in 8 bits; they are applied after it in 16."""
        ones = self._ones(width or self.vision.hidden_size)
        normed = self.op("LayerNormalization", x, ones, axis=-1, epsilon=eps or self.vision.layer_norm_eps)
        weight, bias = (self.static(f"{name}.{part}", self.read(f"{name}.{part}")) for part in ("weight", "bias"))
        return self.op("Add", self.op("Mul", normed, weight), bias)

    def _ones(self, width: int) -> Value:
        """Weights of a norm, in the 8 bits that it needs."""
        ones = torch.ones(width)
        return self.held_once(f"ones.{width}", ones) if self.ranges is None else self.bytes_once(f"ones.{width}", ones)

    def _linear(self, x: Value, name: str, shape: tuple[int, int], scale: str | None = None) -> Value:
        bias = self.static(f"{name}.bias", self.read(f"{name}.bias"))
        found = self.linear(x, f"{name}.weight", [f"{name}.weight"], shape[:1], shape[1], bias)
        return found if scale is None else self.op("Mul", found, self.static(scale, self.read(scale)))

    def _attention(self, x: Value, start: str) -> Value:
        vision, name = self.vision, f"{start}attn.qkv"
        width, heads = vision.hidden_size, vision.num_attention_heads
        dim = width // heads
        bias = self.static(f"{name}.bias", self.read(f"{name}.bias")) if vision.qkv_bias else None
        three = self.linear(x, f"{name}.weight", [f"{name}.weight"], [3 * width], width, bias)
        parts = self.ops("Split", three, self.ints(width, width, width), outputs=3, axis=-1)
        query, key, value = (
            self.op("Transpose", self.reshape(part, self.tokens, heads, dim), perm=perm)
            for part, perm in zip(parts, ([1, 0, 2], [1, 2, 0], [1, 0, 2]), strict=True)
        )
        query = self.op("Mul", query, self.static_once("query_scale", torch.tensor(dim**-0.5)))
        weights = self.op("Softmax", self.op("MatMul", query, self.multiplier(key)), axis=-1)
        mixed = self.op("MatMul", weights, self.multiplier(value))
        mixed = self.op("Transpose", mixed, perm=[1, 0, 2])
        return self._linear(self.reshape(mixed, self.tokens, width), f"{start}attn.proj", (width, width), f"{start}ls1")

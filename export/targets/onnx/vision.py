"""Vision tower and projector as an ONNX graph of standard operators: tiles to image tokens."""

from functools import partial

import torch
from onnx_ir import Value
from torch import Tensor

from phantom_edge.bundle import node_names as places
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.export.passes.layer_form import Read
from phantom_edge.export.targets.onnx.byte_attention import ByteAttention
from phantom_edge.export.targets.onnx.linear import LinearDrawing
from phantom_edge.models.config import PhantomConfig, PhantomVisionConfig
from phantom_edge.models.tensor_names import PROJECTOR, TOWER


class VisionParts(LinearDrawing):
    """Parts common to all drawings of the tower, in terms of their own norms and linear layers."""

    config: PhantomConfig
    vision: PhantomVisionConfig
    tokens: int

    def _norm(self, x: Value, name: str, eps: float | None = None, width: int | None = None) -> Value:
        raise NotImplementedError

    def _linear(self, x: Value, name: str, shape: tuple[int, int], scale: str | None = None) -> Value:
        """Linear layer, its output multiplied by the vector called ``scale``."""
        raise NotImplementedError

    def _mlp(self, x: Value, start: str) -> Value:
        width, inner = self.vision.hidden_size, self.vision.intermediate_size
        x = self.gelu(self._linear(x, f"{start}mlp.fc1", (inner, width)))
        return self._linear(x, f"{start}mlp.fc2", (width, inner), scale=f"{start}ls2")

    def _projected(self, x: Value) -> Value:
        """Drops CLS, merges squares of patches (``models.vision.pixel_shuffle``), projects to the decoder's width."""
        width, side, block = self.vision.hidden_size, self.vision.patches_per_side, self.config.pixel_block
        merged, hidden = width * block**2, self.config.text.hidden_size
        x = self.op("Slice", x, self.ints(1), self.ints(self.tokens), self.ints(0))
        x = self.reshape(x, side // block, block, side // block, block * width)
        x = self.reshape(self.op("Transpose", x, perm=[0, 2, 1, 3]), self.config.tokens_per_tile, merged)
        x = self._norm(x, f"{PROJECTOR}norm", eps=1e-5, width=merged)
        x = self.gelu(self._linear(x, f"{PROJECTOR}fc1", (hidden, merged)))
        return self._linear(x, f"{PROJECTOR}fc2", (hidden, hidden))


class VisionDrawing(VisionParts, ByteAttention):
    """Draws ``pixel_values`` (1, 3, S, S) to ``image_tokens`` (tokens_per_tile, hidden); every shape is fixed.

    Tiles are independent: one at a time is as fast on a CPU and holds the activations of one. LayerScale and the
    attention's 1 / sqrt(d) are multiplied into the weights before them, unless those are integers.
    """

    def __init__(
        self,
        config: PhantomConfig,
        read: Read,
        dtype: torch.dtype,
        integers: QuantizedFiles | None = None,
        *,
        opset_only: bool = False,
    ) -> None:
        super().__init__("vision", dtype, read, integers, opset_only=opset_only)
        self.config, self.vision = config, config.vision
        size = self.vision.image_size
        self.tokens = self.fixed_rows = self.vision.patches_per_side**2 + 1
        pixels = self.input("pixel_values", (1, 3, size, size))
        with self.within(places.PATCHES):
            x = self._embedded(pixels)
        for number in range(self.vision.num_hidden_layers):
            with self.within(f"layers.{number}"):
                x = self._layer(x, f"{TOWER}layers.{number}.")
        self.fixed_rows = config.tokens_per_tile
        with self.within(places.PROJECTOR):
            tokens = self._projected(x)
        self.output(tokens, "image_tokens", (config.tokens_per_tile, config.text.hidden_size))

    def _layer(self, x: Value, start: str) -> Value:
        with self.within(places.NORMS):
            normed = self._norm(x, f"{start}norm1")
        attended = self._attention(normed, start)
        with self.within(places.NORMS):
            x = self.op("Add", x, attended)
            normed = self._norm(x, f"{start}norm2")
        with self.within(places.MLP):
            changed = self._mlp(normed, start)
        with self.within(places.NORMS):
            return self.op("Add", x, changed)

    def _embedded(self, pixels: Value) -> Value:
        """CLS token and patches, with their positions."""
        vision, name = self.vision, f"{TOWER}patch_embedding"
        width, patch = vision.hidden_size, vision.patch_size
        weight = self.weight(
            f"{name}.weight", (width, vision.num_channels, patch, patch), partial(self.read, f"{name}.weight")
        )
        bias = self.weight(f"{name}.bias", (width,), partial(self.read, f"{name}.bias"))
        patches = self.op("Conv", pixels, weight, bias, kernel_shape=[patch, patch], strides=[patch, patch])
        patches = self.op("Transpose", self.reshape(patches, 1, width, self.tokens - 1), perm=[0, 2, 1])
        cls = self.weight(f"{TOWER}class_embedding", (1, 1, width), partial(self.read, f"{TOWER}class_embedding"))
        name = f"{TOWER}position_embedding"
        positions = self.weight(name, (1, self.tokens, width), partial(self.read, name))
        x = self.op("Add", self.op("Concat", cls, patches, axis=1), positions)
        return self.reshape(x, self.tokens, width)

    def _norm(self, x: Value, name: str, eps: float | None = None, width: int | None = None) -> Value:
        shape = (width or self.vision.hidden_size,)
        weight, bias = (
            self.weight(f"{name}.{part}", shape, partial(self.read, f"{name}.{part}")) for part in ("weight", "bias")
        )
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps or self.vision.layer_norm_eps)

    def _linear(self, x: Value, name: str, shape: tuple[int, int], scale: str | None = None) -> Value:
        if self.scheme(f"{name}.weight") is not None:
            bias = self.weight(f"{name}.bias", shape[:1], partial(self.read, f"{name}.bias"))
            found = self.linear(x, f"{name}.weight", [f"{name}.weight"], shape[:1], shape[1], bias)
            return (
                found
                if scale is None
                else self.op("Mul", found, self.weight(scale, shape[:1], partial(self.read, scale)))
            )

        def read(part: str) -> Tensor:
            tensor = self.read(f"{name}.{part}").float()
            if scale is None:
                return tensor
            return tensor * self.read(scale).float().view(-1, *[1] * (tensor.ndim - 1))

        weight = self.weight(f"{name}.weight", shape, partial(read, "weight"))
        return self.op("Gemm", x, weight, self.weight(f"{name}.bias", shape[:1], partial(read, "bias")), transB=1)

    def _attention(self, x: Value, start: str) -> Value:
        vision, name = self.vision, f"{start}attn.qkv"
        width, heads = vision.hidden_size, vision.num_attention_heads
        dim = width // heads

        is_scaled = self.scheme(f"{name}.weight") is None

        def scaled(part: str) -> Tensor:
            tensor = self.read(f"{name}.{part}").float()
            return torch.cat([tensor[:width] * dim**-0.5, tensor[width:]]) if is_scaled else tensor

        bias = self.weight(f"{name}.bias", (3 * width,), partial(scaled, "bias")) if vision.qkv_bias else None
        with self.within(places.PROJECTIONS):
            if is_scaled:
                weight = self.weight(f"{name}.weight", (3 * width, width), partial(scaled, "weight"))
                three = self.op("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
            else:
                three = self.linear(x, f"{name}.weight", [f"{name}.weight"], [3 * width], width, bias)
        with self.within(places.ATTENTION):
            three = self.reshape(three, self.tokens, 3, heads, dim)
            mixed = self._mixed(three, None if is_scaled else dim**-0.5, self._takes_bytes(f"{name}.weight"))
        with self.within(places.PROJECTIONS):
            return self._linear(mixed, f"{start}attn.proj", (width, width), scale=f"{start}ls1")

    def _takes_bytes(self, name: str) -> bool:
        """True where the layer's own products are of bytes, with a scale for every row of the weight."""
        scheme = self.scheme(name)
        return scheme is not None and self._encoding(scheme, is_table=False) in (self._integer, self._static)

    def _mixed(self, three: Value, scale: float | None, takes_bytes: bool) -> Value:
        """Attention outputs (N, width) of queries, keys and values (N, 3, H, d); queries are not scaled yet."""
        three = self.op("Transpose", three, perm=[1, 2, 0, 3])  # (3, H, N, d)
        parts = self.ops("Split", three, outputs=3, axis=0, num_outputs=3)
        query, key, value = (self.op("Squeeze", part, self.ints(0)) for part in parts)
        if scale is not None:
            query = self.op("Mul", query, self.held_once("scale", torch.tensor(scale)))
        key = self.op("Transpose", key, perm=[0, 2, 1])
        scores = self.byte_scores(query, key) if takes_bytes else self.op("MatMul", query, key)
        weights = self.op("Softmax", scores, axis=-1)
        heads = self.vision.num_attention_heads
        mixed = self.byte_mix(weights, value, heads, self.tokens) if takes_bytes else self.op("MatMul", weights, value)
        return self.reshape(self.op("Transpose", mixed, perm=[1, 0, 2]), self.tokens, self.vision.hidden_size)

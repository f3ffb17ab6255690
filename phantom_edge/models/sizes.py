"""The known sizes as rows of numbers, and counts derived from them without building a model."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class VisionSize:
    """Numbers of a vision tower."""

    hidden: int = 1024
    layers: int = 24
    heads: int = 16
    intermediate: int = 4096
    image: int = 448
    patch: int = 14


@dataclass(frozen=True)
class Size:
    """One Phantom by its numbers. ``special_tokens`` are the ids of the vocabulary's marks; ``end`` ends a turn."""

    name: str
    family: str
    backbone: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    special_tokens: dict[str, int]
    end: str
    pad: str
    context: int
    rms_eps: float
    rope: dict[str, Any]
    tied: bool = False
    attention_bias: bool = False
    window: int | None = None
    vision: VisionSize = VisionSize()
    max_tiles: int = 6

    @property
    def head_dim(self) -> int:
        """Plain width of a head; attention runs on twice that."""
        return self.hidden // self.heads

    @property
    def image_token(self) -> int:
        """Id of the image token."""
        return self.special_tokens["<IMG_CONTEXT>"]

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens per tile (pixel shuffle halves each side)."""
        return (self.vision.image // self.vision.patch // 2) ** 2

    def parameters(self) -> dict[str, int]:
        """Parameters of each part: vision, projector, embedding, decoder, phantom, head (0 where tied)."""
        narrow = self.kv_heads * self.head_dim
        attention = 2 * self.hidden**2 + 2 * self.hidden * narrow
        biases = (self.hidden + 2 * narrow) if self.attention_bias else 0
        layer = attention + biases + 3 * self.hidden * self.intermediate + 2 * self.hidden
        phantom = 12 * self.head_dim**2 + 2 * (self.head_dim + 1)
        table = self.vocab * self.hidden
        return {
            "vision": self._vision_parameters(),
            "projector": self._projector_parameters(),
            "embedding": table,
            "decoder": self.layers * layer + self.hidden,
            "phantom": self.layers * phantom,
            "head": 0 if self.tied else table,
        }

    def _vision_parameters(self) -> int:
        v = self.vision
        patches = (v.image // v.patch) ** 2
        stem = 3 * v.patch**2 * v.hidden + v.hidden + v.hidden + (patches + 1) * v.hidden
        attention = 4 * v.hidden**2 + 4 * v.hidden
        mlp = 2 * v.hidden * v.intermediate + v.intermediate + v.hidden
        return stem + v.layers * (attention + mlp + 6 * v.hidden)

    def _projector_parameters(self) -> int:
        merged = 4 * self.vision.hidden
        return 2 * merged + merged * self.hidden + self.hidden + self.hidden**2 + self.hidden

    def kv_bytes_per_token(self, element_bytes: int = 2) -> int:
        """Cache bytes per token: keys and values, each 2 * head_dim wide."""
        return self.layers * self.kv_heads * 2 * (2 * self.head_dim) * element_bytes


def _plain(theta: float) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": theta}


def _marks(first: int, *names: str) -> dict[str, int]:
    return {name: first + i for i, name in enumerate(names)}


_INTERNVL = ("<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>")
_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_INTERNLM2_ROPE = {"rope_type": "dynamic", "rope_theta": 1e6, "factor": 2.0}

_INTERNLM2: dict[str, Any] = {
    "family": "internlm2",
    "vocab": 92553,
    "special_tokens": _marks(0, "<unk>", "<s>", "</s>") | _marks(92542, "<|im_end|>", "<|im_start|>", *_INTERNVL),
    "end": "<|im_end|>",
    "pad": "</s>",
    "context": 32768,
    "rms_eps": 1e-5,
    "rope": _INTERNLM2_ROPE,
    "layers": 24,
    "kv_heads": 8,
}

SIZES: dict[str, Size] = {
    size.name: size
    for size in (
        Size(
            name="tiny",
            family="qwen2",
            backbone="none (for tests)",
            hidden=128,
            layers=2,
            heads=4,
            kv_heads=2,
            intermediate=256,
            vocab=512,
            special_tokens=_marks(256, *_CHATML, *_INTERNVL),
            end="<|im_end|>",
            pad="<|endoftext|>",
            context=4096,
            rms_eps=1e-6,
            rope=_plain(1e6),
            attention_bias=True,
            vision=VisionSize(hidden=64, layers=2, heads=4, intermediate=128, image=112),
        ),
        Size(
            name="nano",
            family="qwen2",
            backbone="none (trained here)",
            hidden=192,
            layers=6,
            heads=6,
            kv_heads=2,
            intermediate=512,
            vocab=1024,
            special_tokens=_marks(0, *_CHATML, *_INTERNVL),
            end="<|im_end|>",
            pad="<|endoftext|>",
            context=4096,
            rms_eps=1e-6,
            rope=_plain(1e4),
            attention_bias=True,
            tied=True,
            vision=VisionSize(hidden=192, layers=6, heads=3, intermediate=768, image=224, patch=16),
        ),
        Size(
            name="0.5b",
            family="qwen2",
            backbone="Qwen2-0.5B",
            hidden=896,
            layers=24,
            heads=14,
            kv_heads=2,
            intermediate=4864,
            vocab=151655,
            special_tokens=_marks(151643, *_CHATML, *_INTERNVL),
            end="<|im_end|>",
            pad="<|endoftext|>",
            context=32768,
            rms_eps=1e-6,
            rope=_plain(1e6),
            attention_bias=True,
            tied=True,
        ),
        Size(name="1.8b", backbone="InternLM2-1.8B", hidden=2048, heads=16, intermediate=8192, **_INTERNLM2),
        Size(
            name="3.8b",
            family="phi3",
            backbone="Phi-3-mini-4k",
            hidden=3072,
            layers=32,
            heads=32,
            kv_heads=32,
            intermediate=8192,
            vocab=32020,
            special_tokens={"<|endoftext|>": 32000, "<|assistant|>": 32001, "<|system|>": 32006, "<|end|>": 32007}
            | _marks(32010, "<|user|>", *_INTERNVL),
            end="<|end|>",
            pad="<|endoftext|>",
            context=4096,
            rms_eps=1e-5,
            rope=_plain(10000.0),
            window=2048,
        ),
        Size(
            name="7b",
            backbone="InternLM2.5-7B",
            hidden=4096,
            heads=32,
            intermediate=14336,
            **(_INTERNLM2 | {"layers": 32}),
        ),
    )
}

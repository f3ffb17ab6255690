"""Fixed set of prompts and pictures for comparing bundles with their models."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from phantom_edge.bundle.manifest import Manifest


@dataclass(frozen=True)
class Case:
    """A prompt, and its tokens per chunk (None: the bundle's ``prefill_chunk``)."""

    name: str
    question: str
    images: tuple[Image.Image, ...] = ()
    chunk: int | None = None
    fills_cache: bool = False


def cases(manifest: Manifest) -> list[Case]:
    """The fixed set, for a bundle's tile size and chunk."""
    side, chunk = manifest.pictures.tile_size, manifest.prefill_chunk
    small, wide = picture(side, side, 1), picture(3 * side, 2 * side, 2)
    return [
        Case("text alone", "Who are you?"),
        Case("token by token", "Is it red?", chunk=1),
        Case("a picture", "What is in the picture?", (small,)),
        Case("odd chunks", "Is it red, or is it blue?", (small,), chunk=max(chunk // 3, 2)),
        Case("several tiles", "What is in the picture?", (wide,)),
        Case("two pictures", "What differs between <image> and <image>?", (small, wide)),
        Case("to the cache's last slot", "Say again: red, blue, green, near, far, 1, 2, 3.", fills_cache=True),
    ]


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Blurred noise with fine noise over it, identical on every machine."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + random.integers(-20, 21, (height, width, 3))).clip(0, 255).astype(np.uint8))

"""Light and noise on pictures of any shape, quickly: with look-up tables and coarse maps, in 8 bits."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

Rgb = tuple[int, int, int]

QUANTILES = tuple(NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256))
"""Quantiles of the normal distribution: random bytes become noise by look-up."""
GRAINS = 300_007
"""Random values of noise; they repeat, out of step with the rows."""


def covered(image: Image.Image, share: NDArray[np.float32], colour: Rgb) -> None:
    """Cover ``image`` with ``colour`` by the ``share`` given at some points, spread evenly: (rows, columns), 0 to 1."""
    mask = Image.fromarray((share.clip(0, 1) * 255).round().astype(np.uint8))
    image.paste(colour, (0, 0), mask.resize(image.size, Image.Resampling.BILINEAR))


def slope(angle: float, points: int = 8) -> NDArray[np.float32]:
    """Returns a slope from about -0.5 to 0.5 that rises towards ``angle``: (points, points)."""
    axis = np.linspace(-0.5, 0.5, points, dtype=np.float32)
    rises: NDArray[np.float32] = axis[None] * np.float32(np.cos(angle)) + axis[:, None] * np.float32(np.sin(angle))
    return rises


def grainy(image: Image.Image, deviation: float, bits: np.random.Generator, *, grey: bool = False) -> Image.Image:
    """Returns ``image`` with noise of a standard ``deviation``, 0 to 40 levels, by channel or ``grey``."""
    table = bytes(round(128 + quantile * deviation) for quantile in QUANTILES)
    count = image.width * image.height * (1 if grey else 3)
    noise = (bits.bytes(min(count, GRAINS)).translate(table) * (count // GRAINS + 1))[:count]
    grains = Image.frombytes("L" if grey else "RGB", image.size, noise)
    return ImageChops.add(image, Image.merge("RGB", (grains,) * 3) if grey else grains, scale=1, offset=-128)

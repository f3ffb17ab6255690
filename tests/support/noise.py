"""Pictures of noise, the same in every run and in any order of tests."""

import numpy as np
from PIL import Image


def noise(size: tuple[int, int], spread: float) -> Image.Image:
    """A gray picture as RGB, (width, height), normal about the middle; the same for the same size and spread."""
    width, height = size
    numbers = np.random.default_rng([width, height, round(spread)]).normal(128, spread, (height, width))
    return Image.fromarray(numbers.clip(0, 255).astype(np.uint8)).convert("RGB")

"""Pictures of noise that are the same in every run and any order of tests."""

import numpy as np
from PIL import Image


def noise(size: tuple[int, int], spread: float) -> Image.Image:
    """A gray RGB picture of size (width, height); its values are normal around 128, with this standard deviation."""
    width, height = size
    numbers = np.random.default_rng([width, height, round(spread)]).normal(128, spread, (height, width))
    return Image.fromarray(numbers.clip(0, 255).astype(np.uint8)).convert("RGB")

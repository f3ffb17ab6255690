"""Photographs and measured pictures that scientific Python packages ship. They show nothing that is asked for."""

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phantom_edge.foundation.errors import EdgeError, need

Pixels = NDArray[np.uint8]

LEAST_CROP = 0.35
"""A crop has at least this share of each side."""


def photograph_crop(random: Random, pixels: tuple[int, int], *, held_out: bool) -> Image.Image:
    """Returns a crop of a photograph, perhaps mirrored, RGB, of ``pixels``. Held-out splits have others than train."""
    source = open_photograph(random.choice(HELD_OUT if held_out else TRAIN))
    ratio = pixels[0] / pixels[1]
    widest = min(1.0, source.height * ratio / source.width)
    width = random.uniform(LEAST_CROP, 1.0) * widest * source.width
    height = width / ratio
    left, top = random.uniform(0, source.width - width), random.uniform(0, source.height - height)
    crop = source.resize(pixels, Image.Resampling.BILINEAR, (left, top, left + width, top + height))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else crop


@cache
def open_photograph(name: str) -> Image.Image:
    """Returns one of PHOTOGRAPHS, RGB. Raises EdgeError where the installed package came without it."""
    try:
        return Image.fromarray(PHOTOGRAPHS[name]())
    except (FileNotFoundError, AttributeError) as error:
        raise EdgeError(
            f"the picture {name} is not among the installed packages' sample data ({error})",
            "run: pip install --force-reinstall matplotlib scikit-learn",
        ) from error


def _of_sklearn(name: str) -> Pixels:
    return np.asarray(need("sklearn.datasets", "scenes").load_sample_image(name), np.uint8)


def _matplotlib_file(name: str) -> Path:
    return Path(need("matplotlib.cbook", "scenes").get_sample_data(name, asfileobj=False))


def _portrait() -> Pixels:
    with Image.open(_matplotlib_file("grace_hopper.jpg")) as image:
        return np.asarray(image.convert("RGB"))


def _scan() -> Pixels:
    """Returns a slice through a head, by magnetic resonance: 256 x 256 values of 16 bits."""
    with gzip.open(_matplotlib_file("s1045.ima.gz")) as file:
        values = np.frombuffer(file.read(), np.uint16).reshape(256, 256).astype(np.float32)
    return _grey(values / values.max())


def _terrain() -> Pixels:
    """Returns mountains in the light of a low sun, from their heights."""
    with np.load(_matplotlib_file("jacksboro_fault_dem.npz"), allow_pickle=False) as file:
        heights = np.nan_to_num(file["elevation"].astype(np.float32))
    slopes = heights - np.roll(heights, (1, 1), (0, 1))
    return _grey(0.5 + slopes / (6 * slopes.std() + 1e-6))


def _grey(brightness: NDArray[np.float32]) -> Pixels:
    return np.repeat((brightness.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)


PHOTOGRAPHS: dict[str, Callable[[], Pixels]] = {
    "china.jpg": lambda: _of_sklearn("china.jpg"),
    "flower.jpg": lambda: _of_sklearn("flower.jpg"),
    "s1045.ima.gz": _scan,
    "grace_hopper.jpg": _portrait,
    "jacksboro_fault_dem.npz": _terrain,
}
TRAIN = ("china.jpg", "flower.jpg", "s1045.ima.gz")
HELD_OUT = ("grace_hopper.jpg", "jacksboro_fault_dem.npz")
"""Photographs of validation and test, which training never sees."""

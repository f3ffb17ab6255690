"""Surroundings of a photographed picture: desks and fingers."""

import math
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]

DESKS: tuple[Rgb, ...] = (
    (150, 110, 75), (105, 70, 45), (190, 165, 130), (225, 222, 215), (60, 60, 64), (120, 125, 130), (85, 100, 120),
)  # fmt: skip
"""Wood, light and dark, white, black, grey, cloth."""
SKIN: tuple[Rgb, ...] = ((224, 172, 140), (198, 140, 105), (141, 90, 60), (94, 60, 44), (238, 196, 172))
MOST_COVER = 0.02
"""A finger reaches over the picture's border by at most this share of the picture's shorter side."""


def desk(size: tuple[int, int], random: Random) -> Image.Image:
    """Returns a desk with a grain along one axis, in one of the colours of DESKS."""
    base = np.array(random.choice(DESKS), np.float32)
    bits = np.random.default_rng(random.randrange(2**32))
    fine, coarse = random.choice(((40, 3), (3, 40), (24, 24), (4, 4)))
    grain = bits.normal(0, random.uniform(2, 12), (fine, coarse, 1)) + bits.normal(0, 3, (fine, coarse, 3))
    small = Image.fromarray((base + grain).clip(0, 255).astype(np.uint8))
    quarter = small.resize((size[0] // 4 + 1, size[1] // 4 + 1), Image.Resampling.BILINEAR)
    return quarter.resize(size, Image.Resampling.NEAREST)


def finger(frame: Image.Image, quad: NDArray[np.float64], random: Random) -> None:
    """Draw a finger that comes from outside and ends at the border of the picture whose corners are ``quad``."""
    at = random.randrange(4)
    start, end = quad[at], quad[(at + 1) % 4]
    point = start + (end - start) * random.uniform(0.1, 0.9)
    inwards = np.array([-(end - start)[1], (end - start)[0]]) / math.hypot(*(end - start))
    shorter = min(math.dist(quad[0], quad[1]), math.dist(quad[1], quad[2]))
    half = random.uniform(0.05, 0.08) * min(frame.size)
    tip = point + inwards * (random.uniform(0, MOST_COVER) * shorter - half)
    slant = random.uniform(-0.5, 0.5)
    along = np.array([inwards[0] - slant * inwards[1], inwards[1] + slant * inwards[0]])
    root = tip - along * max(frame.size)
    colour = random.choice(SKIN)
    draw = ImageDraw.Draw(frame)
    draw.line((*root, *tip), fill=colour, width=round(2 * half))
    draw.ellipse((tip[0] - half, tip[1] - half, tip[0] + half, tip[1] + half), fill=colour)

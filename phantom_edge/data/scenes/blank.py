"""Pictures without any item: noise, one colour, gradients, clouds, grain, an empty scene, and photographs."""

import zlib
from random import Random

import numpy as np
from PIL import Image

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.graph import Scene
from phantom_edge.data.scenes.items import appearance
from phantom_edge.data.scenes.photographs import photograph_crop

WAYS = ("noise", "plain", "gradient", "clouds", "grain", "empty", "photograph")


def draw_blank(key: str, pixels: tuple[int, int], *, held_out: bool) -> tuple[Image.Image, str]:
    """Returns a picture of ``pixels`` without items, RGB, and which of WAYS it is; same key, same picture."""
    random = Random(f"blank {key}")
    way = random.choice(WAYS)
    if way == "photograph":
        return photograph_crop(random, pixels, held_out=held_out), way
    if way == "empty":
        return draw_scene(Scene(key, (), appearance(random), pixels)), way
    bits = np.random.default_rng(zlib.crc32(key.encode()))
    colour = np.array(random.choice(list(graph.COLOURS.values())), np.float32)
    if way == "noise":
        grey = random.random() < 0.3
        noise = bits.integers(0, 256, (pixels[1], pixels[0], 1 if grey else 3), np.uint8)
        return Image.fromarray(np.broadcast_to(noise, (pixels[1], pixels[0], 3)).copy()), way
    if way == "plain":
        return Image.new("RGB", pixels, tuple(int(v) for v in colour)), way
    if way == "gradient":
        points = bits.integers(0, 256, (2, 2, 3), np.uint8)
    elif way == "clouds":
        side = random.randint(4, 24)
        points = bits.integers(60, 220, (side, side, random.choice((1, 3))), np.uint8)
    else:
        shape = random.choice(((64, 3, 1), (3, 64, 1)))
        points = (colour + bits.normal(0, 14, shape)).clip(0, 255).astype(np.uint8)
    points = np.broadcast_to(points, (*points.shape[:2], 3)).copy()
    return Image.fromarray(points).resize(pixels, Image.Resampling.BICUBIC), way

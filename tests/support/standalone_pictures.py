"""Pictures to tiles, by docs/bundle-format.md alone: a part of standalone_reader.py."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray[Any, Any]
Rules = dict[str, Any]
"""The manifest's `pictures`."""


def decode(path: Path, background: list[int]) -> Array:
    """Decodes a picture to upright, opaque RGB: (height, width, 3) bytes."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16-bit grey
        grey = np.floor(np.asarray(image).astype(np.float64) / 257 + 0.5).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA")).astype(np.float64)
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    return np.round((colour * alpha + np.array(background) * (255 - alpha)) / 255).astype(np.uint8)


def choose_grid(width: int, height: int, pictures: Rules) -> tuple[int, int]:
    """Chooses the columns and rows of a picture's tiles."""
    best, distance = (0, 0), float("inf")
    for columns, rows in pictures["grids"]:
        d = abs(width / height - columns / rows)
        area = pictures["tie_area"] * pictures["tile_size"] * pictures["tile_size"] * columns * rows
        if d < distance or (d == distance and width * height > area):
            best, distance = (columns, rows), d
    return best


def cubic(x: Array, a: float) -> Array:
    """Keys' cubic."""
    x = np.abs(x)
    near, far = ((a + 2) * x - (a + 3)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def resize_columns(pixels: Array, n: int, a: float = -0.5, bits: int = 22) -> Array:
    """Resizes the second axis of (rows, columns, channels) bytes to n pixels, by the page's formula."""
    m = pixels.shape[1]
    if m == n:
        return pixels
    scale, whole = m / n, pixels.astype(np.int64)
    wide = max(scale, 1.0)
    support, out = 2 * wide, np.empty((pixels.shape[0], n, pixels.shape[2]), np.uint8)
    for i in range(n):
        center = (i + 0.5) * scale
        first, last = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), m)
        weights = cubic((np.arange(first, last) - center + 0.5) * (1 / wide), a)
        weights = weights / np.add.accumulate(weights)[-1]
        integers = np.trunc(weights * 2**bits + np.where(weights >= 0, 0.5, -0.5)).astype(np.int64)
        total = 2 ** (bits - 1) + np.einsum("rkc,k->rc", whole[:, first:last], integers)
        out[:, i] = np.clip(total >> bits, 0, 255)
    return out


def resize(pixels: Array, width: int, height: int) -> Array:
    """Resizes (height, width, channels) bytes: first the horizontal pass, then the vertical one."""
    return resize_columns(resize_columns(pixels, width).swapaxes(0, 1), height).swapaxes(0, 1)


def cut_tiles(pixels: Array, pictures: Rules) -> list[Array]:
    """Cuts a picture into tiles of (S, S, 3) bytes."""
    size = pictures["tile_size"]
    columns, rows = choose_grid(pixels.shape[1], pixels.shape[0], pictures)
    large = resize(pixels, columns * size, rows * size)
    corners = [(row * size, column * size) for row in range(rows) for column in range(columns)]
    tiles = [large[y : y + size, x : x + size] for y, x in corners]
    return [*tiles, resize(pixels, size, size)] if pictures["thumbnail"] and len(tiles) > 1 else tiles


def normalize(tile: Array, pictures: Rules) -> Array:
    """Makes a tile of bytes (S, S, 3) the numbers (1, 3, S, S) of the input `pixel_values`."""
    mean, std = (np.array(pictures[name], np.float32) for name in ("mean", "std"))
    numbers = (tile.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(numbers.transpose(2, 0, 1)[None])

"""Pictures of the conformance data: a part of conformance.py."""

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from phantom_edge.bundle.pictures import Pictures
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.processing.images import ORIENTATION_TAG, open_image
from phantom_edge.processing.tiling import Tiling, choose_grid, split_tiles

Array = NDArray[Any]
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column and row of each pass, and its steps."""

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'
SIZES = ((1, 1), (2, 700), (97, 251), (613, 211), (33, 12), (224, 448), (5, 900), (1100, 40), (900, 600), (449, 447))
NEAR = ((224, 224), (448, 448), (336, 224), (672, 448))
"""Sizes of noise: odd ones, and those whose tiles need no resizing, in one direction or both."""
LARGE = (2400, 1800)


def png(pixels: Array, colour: int, chunks: tuple[tuple[bytes, bytes], ...] = (), *, interlaced: bool = False) -> bytes:
    """A PNG of (height, width, channels) of 8 or 16 bits, as Pillow does not write it: every filter takes its turn."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    depth = 8 * pixels.dtype.itemsize
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    whole = [pixels[y::down, x::across] for x, y, across, down in PASSES] if interlaced else [pixels]
    step = channels * pixels.dtype.itemsize
    data = b"".join(_filtered(one, step) for one in whole if one.size)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts)


def _filtered(pixels: Array, step: int) -> bytes:
    """Lines with filters 0, 1, 2, 3, 4, 0 ..."""
    lines = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(len(pixels), -1).view(np.uint8).astype(np.int64)
    found, above = [], np.zeros(lines.shape[1], np.int64)
    for number, line in enumerate(lines):
        left, corner = (np.concatenate([np.zeros(step, np.int64), one])[: len(line)] for one in (line, above))
        guesses = [np.zeros_like(line), left, above, (left + above) // 2, _paeth(left, above, corner)]
        found.append(bytes([number % 5]) + ((line - guesses[number % 5]) % 256).astype(np.uint8).tobytes())
        above = line
    return b"".join(found)


def _paeth(left: Array, above: Array, corner: Array) -> Array:
    total = left + above - corner
    near = [np.abs(total - one) for one in (left, above, corner)]
    best = np.where(near[1] <= near[2], above, corner)
    return np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, best)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture in a format of Pillow."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> Image.Exif:
    """EXIF with an orientation."""
    found = Image.Exif()
    found[ORIENTATION_TAG] = orientation
    return found


def noise(width: int, height: int, channels: int = 3, most: int = 256) -> Array:
    """Smooth waves and noise, (height, width, channels)."""
    random = np.random.default_rng([width, height, channels])
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / (7 + 3 * one)) + np.cos(y / (11 + one)) for one in range(channels)], axis=2)
    values = (waves / 4 + 0.5) * most + random.normal(0, most / 8, waves.shape)
    return values.clip(0, most - 1).astype(np.uint8 if most == 256 else np.uint16)


def files() -> dict[str, bytes]:
    """Encoded pictures of all kinds by their names."""
    scenes = [draw_scene(make_scene(seed, "test")) for seed in range(9)]
    wide = draw_scene(make_scene(7, "test"), 640).crop((0, 100, 640, 330))
    found = {f"scene{seed}.png": encoded(one, "PNG") for seed, one in enumerate(scenes[:8])}
    found["wide.png"] = encoded(wide, "PNG")
    found["tall.png"] = encoded(wide.transpose(Image.Transpose.ROTATE_90), "PNG")
    for width, height in (*SIZES, *NEAR):
        found[f"size{width}x{height}.png"] = encoded(Image.fromarray(noise(width, height)), "PNG")
    found |= _of_kinds(scenes, wide)
    found |= _turned(wide)
    found |= _lossy(scenes, wide)
    return found


def _of_kinds(scenes: list[Image.Image], wide: Image.Image) -> dict[str, bytes]:
    """PNGs of every colour type and depth."""
    palette = scenes[3].quantize(40)
    few = scenes[5].quantize(4)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "grey.png": encoded(scenes[4].convert("L"), "PNG"),
        "grey1.png": encoded(scenes[2].convert("1"), "PNG"),
        "grey_alpha.png": png(noise(150, 90, 2), 4),
        "grey_clear.png": png(noise(60, 50, 1), 0, ((b"tRNS", b"\0\x80"),)),
        "grey16.png": png(noise(300, 210, 1, 65536), 0),
        "grey16_alpha.png": png(noise(130, 70, 2, 65536), 4),
        "alpha.png": png(noise(300, 210, 4), 6),
        "alpha16.png": png(noise(90, 130, 4, 65536), 6),
        "colour16.png": png(noise(130, 90, 3, 65536), 2),
        "colour_clear.png": png(noise(80, 80) // 64 * 64, 2, ((b"tRNS", b"\0\x80\0\x80\0\x80"),)),
        "palette.png": encoded(palette, "PNG"),
        "palette2.png": encoded(few, "PNG", bits=2),
        "palette4.png": encoded(scenes[6].quantize(16), "PNG", bits=4),
        "clear.png": encoded(palette, "PNG", transparency=3),
        "interlaced.png": png(noise(301, 203), 2, interlaced=True),
        "interlaced3.png": png(noise(3, 2, 4), 6, interlaced=True),
        "gamma.png": png(np.asarray(wide), 2, ((b"gAMA", struct.pack(">I", 100000)),)),
        "profile.png": encoded(scenes[0], "PNG", icc_profile=profile),
    }


def _turned(wide: Image.Image) -> dict[str, bytes]:
    """Pictures that EXIF or XMP turn."""
    found = {f"turned{number}.png": encoded(wide, "PNG", exif=exif(number)) for number in (3, 5, 6)}
    found |= {f"turned{number}.jpg": encoded(wide, "JPEG", exif=exif(number), quality=92) for number in range(2, 9)}
    found["xmp.jpg"] = encoded(wide, "JPEG", xmp=XMP.format(8).encode())
    return found


def _lossy(scenes: list[Image.Image], wide: Image.Image) -> dict[str, bytes]:
    """Formats that platforms decode."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "full.jpg": encoded(scenes[0], "JPEG", quality=95, subsampling=0),
        "half.jpg": encoded(wide, "JPEG", quality=85, subsampling=2),
        "progressive.jpg": encoded(scenes[1], "JPEG", progressive=True),
        "grey.jpg": encoded(scenes[2].convert("L"), "JPEG"),
        "profile.jpg": encoded(scenes[3], "JPEG", icc_profile=profile),
        "large.jpg": encoded(Image.fromarray(noise(*LARGE)), "JPEG", quality=60),
        "plain.bmp": encoded(scenes[4], "BMP"),
        "few.gif": encoded(scenes[5].quantize(64), "GIF"),
    }


def write_pictures(folder: Path, rules: Pictures) -> dict[str, Any]:
    """Writes the pictures, and for lossy ones their pixels too. Returns what a reader must make of them."""
    folder.mkdir(parents=True)
    tiling = Tiling(rules.tile_size, rules.min_tiles, rules.max_tiles, rules.thumbnail, rules.mean, rules.std)
    found = []
    for name, data in files().items():
        (folder / name).write_bytes(data)
        image = open_image(folder / name)
        pixels = image.tobytes()
        is_exact = name.endswith(".png")
        if not is_exact:
            (folder / f"{name}.rgb").write_bytes(pixels)
        found.append(
            {
                "file": name,
                "is_exact": is_exact,
                "width": image.width,
                "height": image.height,
                "pixels": hashlib.sha256(pixels).hexdigest(),
                "grid": list(choose_grid(*image.size, tiling)),
                "tiles": [hashlib.sha256(tile.tobytes()).hexdigest() for tile in split_tiles(image, tiling)],
            }
        )
    return {"pictures": found, "cameras": [_camera(folder, *size) for size in ((64, 48), (31, 17))]}


def _camera(folder: Path, width: int, height: int) -> dict[str, Any]:
    """A camera's planes, and their pixels by Pillow, whose tables differ from the formula by a level at most."""
    luma = noise(width, height, 1)[:, :, 0]
    half = noise((width + 1) // 2, (height + 1) // 2, 2)
    whole = half.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    image = Image.fromarray(np.dstack([luma, whole]), "YCbCr").convert("RGB")
    name = f"camera{width}x{height}"
    (folder / f"{name}.yuv").write_bytes(luma.tobytes() + half[:, :, 0].tobytes() + half[:, :, 1].tobytes())
    (folder / f"{name}.rgb").write_bytes(image.tobytes())
    return {"name": name, "width": width, "height": height, "levels": 1}

"""Reads any picture as an upright opaque RGB image. Needs Pillow alone."""

import io
import re
import struct
import warnings
import zlib
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from phantom_edge.foundation.errors import EdgeError

ImageSource = Path | str | bytes | BinaryIO | Image.Image

ORIENTATION_TAG = 0x0112
"""EXIF tag of the camera's orientation."""

ADDRESS = re.compile(r"(https?|ftp|s3|gs|file):/|data:", re.IGNORECASE)
"""The beginning of an address; a Path has lost its second slash."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
_DIRECT_MODES = ("1", "L", "P", "RGBX", "CMYK", "YCbCr", "HSV")
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP")
"""Formats that are read, where Pillow has a decoder; one of its others starts another program (EPS: Ghostscript)."""

LONGEST_SIDE = 65_535
"""Longest side of a picture, pixels."""

MOST_PIXELS = 110_000_000
"""Largest area of a picture, pixels: that of a phone's largest photographs, 1.3 GB with transparency."""

_BROKEN_DATA = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""Exceptions of Pillow's decoders on malformed bytes."""


@lru_cache(1)
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def open_image(source: ImageSource) -> Image.Image:
    """Open a picture as upright RGB: EXIF orientation applied, transparency laid over white, 16-bit grey scaled.

    ``source`` is a path, encoded bytes, a binary file or a Pillow image; of an animation the first frame is taken.
    An opaque, upright RGB image comes through bit-identical. Applying it twice changes nothing.
    Raises EdgeError for everything that is not a readable picture.
    """
    name = _name(source)
    if isinstance(source, Image.Image):
        return _upright_rgb(source, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is looked at below
            image = Image.open(_encoded(source, name), formats=_formats())
    except UnidentifiedImageError:
        raise EdgeError(f"{name} is not a picture that can be read", "save it as PNG or JPEG") from None
    except Image.DecompressionBombError as error:
        raise _too_large(name, error) from None
    except PermissionError:
        raise EdgeError(f"{name} may not be read", f"run: chmod u+r {quote(name)}, or choose another file") from None
    except _BROKEN_DATA as error:
        raise _broken(name, error) from None
    with image:
        if max(image.size) > LONGEST_SIDE or image.width * image.height > MOST_PIXELS:
            raise _too_large(name, f"{image.width:,} x {image.height:,} pixels")
        return _upright_rgb(image, name)


def _name(source: object) -> str:
    if isinstance(source, Path | str):
        return str(source)
    if isinstance(source, bytes):
        return f"the picture of {len(source)} bytes"
    if isinstance(source, Image.Image):
        return f"the {source.mode} image"
    return str(getattr(source, "name", "the picture"))


def _encoded(source: Path | str | bytes | BinaryIO, name: str) -> Path | BinaryIO:
    """Input for Pillow, checked for mistakes whose errors Pillow words badly."""
    if isinstance(source, bytes):
        if not source:
            raise EdgeError("the picture is empty: 0 bytes", "pass the bytes of a PNG or JPEG file")
        return io.BytesIO(source)
    if not isinstance(source, Path | str):
        if not callable(getattr(source, "read", None)):
            raise EdgeError(
                f"a {type(source).__name__} is not a picture",
                "pass a path, bytes, an open binary file or a Pillow image (for an array: PIL.Image.fromarray)",
            )
        return source
    return _file(source, name)


def _file(source: Path | str, name: str) -> Path:
    if ADDRESS.match(str(source)):
        raise EdgeError(f"{str(source)[:60]} is an address, not a file", "download it first and pass the file's path")
    path = Path(source)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise EdgeError(f"{name} does not exist", "check the path") from None
    except (OSError, ValueError) as error:
        raise EdgeError(f"{name} cannot be opened: {error}", "check the path and its permissions") from None
    if path.is_dir():
        raise EdgeError(f"{name} is a folder", "pass one file of it")
    if not path.is_file():
        raise EdgeError(f"{name} is a pipe or a device, not a file", "pass a file, or pipe the picture to --image -")
    if not size:
        raise EdgeError(f"{name} is empty: 0 bytes", "copy or download the file again")
    return path


def _upright_rgb(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        rgb = _rgb(image, name)
    except Image.DecompressionBombError as error:
        raise _too_large(name, error) from None
    except _BROKEN_DATA as error:
        raise _broken(name, error) from None
    if turn is None:
        return rgb
    upright = rgb.transpose(turn)
    upright.info = {}  # the copied EXIF would turn the picture once more
    return upright


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) where it is absent or unreadable."""
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except _BROKEN_DATA:
        return 1


def _rgb(image: Image.Image, name: str) -> Image.Image:
    if 0 in image.size:
        raise EdgeError(f"{name} has no pixels: {image.width}x{image.height}", "pass a picture of at least 1x1")
    if image.mode.startswith("I"):
        return _sixteen_bit_grey(image, name).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _over_white(image)
    if image.mode == "RGB":
        return image
    if image.mode in _DIRECT_MODES:
        return image.convert("RGB")
    if image.mode == "LAB":
        return _from_lab(image)
    raise EdgeError(
        f"{name} has pixels of mode {image.mode}, whose range is not known",
        "scale it to 0..255 and convert it first: image.convert('L')",
    )


def _over_white(image: Image.Image) -> Image.Image:
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    rgba = (image.convert(straight) if straight else image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _sixteen_bit_grey(image: Image.Image, name: str) -> Image.Image:
    """0..65535 to 0..255, rounded. Pillow's own conversion would clip everything above 255 to white."""
    wide = image.convert("I")
    low, high = wide.getextrema()
    assert isinstance(low, int | float) and isinstance(high, int | float)
    if low < 0 or high > 0xFFFF:
        raise EdgeError(
            f"{name} has integer pixels from {low} to {high}, more than 16 bits",
            "scale it to 0..255 and convert it first: image.convert('L')",
        )
    grey = wide.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    clear = image.info.get("transparency")
    if isinstance(clear, int) and 0 <= clear <= 0xFFFF:
        grey.paste(255, mask=wide.point([0] * clear + [255] + [0] * (0xFFFF - clear), "L"))
    return grey


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    rgb = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    assert rgb is not None
    return rgb


def _broken(name: str, error: BaseException) -> EdgeError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return EdgeError(f"{name} is damaged or cut short: {reason}", "copy or download the file again")


def _too_large(name: str, reason: object) -> EdgeError:
    words = " ".join(str(reason).split())
    return EdgeError(f"{name} is too large: {words}", f"make it smaller: at most {MOST_PIXELS / 1e6:.0f} megapixels")

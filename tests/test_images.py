"""Opening pictures: what every kind of file and pixel becomes, and what a user is told about the others."""

import hashlib
import io
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.images import ORIENTATION_TAG, open_image

GOLDEN = Path(__file__).parent / "golden" / "preprocess"


def noise(width: int = 9, height: int = 7) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def test_golden_pictures_come_through_unchanged():
    for name, expected in json.loads((GOLDEN / "preprocess.json").read_text())["images"].items():
        assert hashlib.sha256(open_image(GOLDEN / name).tobytes()).hexdigest() == expected["sha256_rgb_bytes"]


def test_every_kind_of_source(tmp_path):
    image, data, path = noise(), encode(noise()), tmp_path / "bild ü.png"
    path.write_bytes(data)
    for source in (image, data, path, str(path), io.BytesIO(data), path.open("rb")):
        np.testing.assert_array_equal(pixels(open_image(source)), pixels(image))


def test_transparency_is_laid_over_white():
    colour = Image.new("RGB", (1, 1), (200, 100, 0))
    for alpha, expected in ((255, (200, 100, 0)), (0, (255, 255, 255)), (51, (244, 224, 204))):
        image = colour.convert("RGBA")
        image.putalpha(alpha)
        assert open_image(image).getpixel((0, 0)) == expected
        assert open_image(encode(image)).getpixel((0, 0)) == expected
    clear = Image.new("RGBA", (1, 1), (10, 10, 10, 0))
    ten, none = Image.new("L", (1, 1), 10), Image.new("L", (1, 1), 0)
    grey = clear.convert("LA")
    for image in (grey, grey.convert("La"), clear.convert("RGBa"), Image.merge("PA", (ten, none))):
        assert open_image(image).getpixel((0, 0)) == (255, 255, 255)


def test_palette_and_colour_key_transparency():
    palette = Image.new("P", (2, 1))
    palette.putpalette([9, 8, 7, 60, 50, 40])
    palette.putdata([0, 1])
    for kind in ("PNG", "GIF"):
        opened = open_image(encode(palette, kind, transparency=0))
        assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (60, 50, 40)]
    keyed = Image.new("RGB", (2, 1), (1, 2, 3))
    keyed.putpixel((1, 0), (4, 5, 6))
    opened = open_image(encode(keyed, transparency=(1, 2, 3)))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (4, 5, 6)]


def test_sixteen_bit_grey_is_scaled_not_clipped():
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(every / 257).astype(np.uint8)
    sources = (
        Image.frombytes("I;16", (256, 256), every.astype("<u2").tobytes()),
        Image.frombytes("I;16B", (256, 256), every.astype(">u2").tobytes()),
        Image.fromarray(every.astype(np.int32)),
        encode(Image.fromarray(every)),
    )
    for source in sources:
        np.testing.assert_array_equal(pixels(open_image(source)), np.repeat(expected[..., None], 3, axis=2))


def test_other_modes():
    image = noise()
    for mode in ("1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX"):
        converted = image.convert(mode)
        np.testing.assert_array_equal(pixels(open_image(converted)), pixels(converted.convert("RGB")))
    white, black = (Image.new("LAB", (1, 1), (level, 128, 128)) for level in (255, 0))
    assert min(open_image(white).getpixel((0, 0))) >= 253
    assert max(open_image(black).getpixel((0, 0))) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    data = encode(noise(), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    once = open_image(data)
    np.testing.assert_array_equal(pixels(once), pixels(expected))
    np.testing.assert_array_equal(pixels(open_image(once)), pixels(once))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_unreadable_exif_does_not_lose_the_picture():
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    data = encode(noise(), "PNG", exif=exif.tobytes()[:12] + b"\xff" * 9)
    np.testing.assert_array_equal(pixels(open_image(data)), pixels(noise()))


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(open_image(data)), pixels(frames[0]))


def refusal(source: object) -> str:
    """The message about a source; always one line of problem and one of remedy."""
    with pytest.raises(EdgeError) as caught:
        open_image(source)
    problem, remedy = caught.value.problem, caught.value.remedy
    assert "\n" not in problem + remedy
    assert remedy
    return problem


def test_files_that_are_no_pictures(tmp_path):
    for name, content in (("empty.png", b""), ("text.png", b"not a picture at all"), ("cut.png", encode(noise())[:60])):
        (tmp_path / name).write_bytes(content)
    assert "is empty" in refusal(tmp_path / "empty.png")
    assert "is not a picture" in refusal(str(tmp_path / "text.png"))
    assert "damaged or cut short" in refusal(tmp_path / "cut.png")
    assert "is a folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "absent.png")
    assert "cannot be opened" in refusal("nul\0byte.png")
    assert "is an address" in refusal("https://example.org/photo.jpg")
    assert "is empty" in refusal(b"")
    assert "ndarray is not a picture" in refusal(np.zeros((4, 4, 3), np.uint8))
    assert "damaged" in refusal(encode(noise(64, 64), "JPEG")[:-200])


def test_no_permission(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encode(noise()))
    path.chmod(0)
    try:
        path.open("rb").close()
    except PermissionError:
        assert "may not be read" in refusal(path)
    else:
        pytest.skip("this user may read every file")


def test_pixels_without_a_known_range():
    assert "mode F" in refusal(Image.new("F", (2, 2)))
    assert "more than 16 bits" in refusal(Image.new("I", (2, 2), 70000))
    assert "more than 16 bits" in refusal(Image.new("I", (2, 2), -1))
    assert "no pixels" in refusal(Image.new("RGB", (0, 5)))


def png_header(width: int, height: int) -> bytes:
    """A picture of one byte that says to be larger."""
    small, size = encode(noise(1, 1)), struct.pack(">II", width, height)
    chunk = b"IHDR" + size + small[24:29]
    return small[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + small[33:]


@pytest.mark.parametrize("size", [(89_000_000, 1), (1, 65_536), (11_000, 10_001), (2**31 - 1, 2**31 - 1)])
def test_pictures_are_bounded_before_they_are_decoded(size, recwarn):
    assert "too large" in refusal(png_header(*size))
    assert not recwarn.list


def test_a_large_photograph_makes_no_warning(recwarn):
    assert open_image(encode(Image.new("L", (10_000, 9_000)))).size == (10_000, 9_000)
    assert not recwarn.list


def test_formats_that_start_programs_are_no_pictures(tmp_path):
    """A file's content decides on its format, whatever its name."""
    (tmp_path / "photo.png").write_bytes(encode(noise(), "EPS"))
    assert "not a picture that can be read" in refusal(tmp_path / "photo.png")
    assert "not a picture that can be read" in refusal(encode(noise(), "EPS"))


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        assert "is a pipe or a device" in refusal(path)


def test_addresses_are_named_as_such():
    for address in ("https://a.b/c.png", Path("https://a.b/c.png"), "file:///a.png", "s3://a/b.png", "DATA:image/png,"):
        assert "is an address" in refusal(address)


def test_the_clear_value_of_sixteen_bit_grey():
    """It is compared before it is scaled: its neighbours stay grey."""
    image = Image.frombytes("I;16", (3, 1), np.array([999, 1000, 1001], "<u2").tobytes())
    opened = open_image(encode(image, transparency=1000))
    assert [opened.getpixel((x, 0))[0] for x in range(3)] == [4, 255, 4]


KINDS = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", *(["AVIF"] if features.check("avif") else [])]


@pytest.mark.skipif("AVIF" not in KINDS, reason="this Pillow reads no AVIF")
def test_damaged_avif():
    """Its decoder raises RuntimeError, and others."""
    content = encode(noise(20, 15), "AVIF")
    said = set()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        try:
            assert open_image(bytes(damaged)).mode == "RGB"
        except EdgeError as error:
            assert "\n" not in error.problem
            said.add(error.problem)
    assert said


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.data())
def test_damaged_files_end_in_a_picture_or_one_clear_line(kind, data):
    content = bytearray(encode(noise(20, 15), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    try:
        assert open_image(bytes(content)).mode == "RGB"
    except EdgeError as error:
        assert "\n" not in error.problem

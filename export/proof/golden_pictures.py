"""Pictures for golden files, drawn by Pillow alone: scenes in which a wrong filter, order or edge shows."""

from PIL import Image, ImageChops, ImageDraw, ImageFont

Rgb = tuple[int, int, int]
FINE = 2
"""Picture is drawn this many times as large, and shrunk."""

RED, BLUE, GREEN, YELLOW = (205, 40, 40), (45, 80, 205), (45, 150, 60), (235, 205, 50)
INK, PAPER = (35, 35, 40), (250, 248, 240)


def one_tile(side: int) -> Image.Image:
    """A picture for one tile of ``side`` pixels: a circle, a square, a card and bars."""
    picture = _ground(_odd(1.3 * side), _odd(1.24 * side), (222, 218, 206), (172, 180, 192))
    draw, w, h = ImageDraw.Draw(picture), picture.width, picture.height
    draw.ellipse(_box(w, h, 0.26, 0.3, 0.12), fill=RED)
    draw.rectangle(_box(w, h, 0.7, 0.38, 0.11), fill=BLUE)
    draw.rounded_rectangle(
        (0.12 * w, 0.66 * h, 0.42 * w, 0.84 * h), radius=0.02 * h, fill=PAPER, outline=INK, width=max(2, side // 100)
    )
    _write(picture, "407", 0.27 * w, 0.75 * h, 0.1 * h)
    _bars(draw, 0.62 * w, 0.66 * h, 0.9 * w, 0.9 * h)
    return picture.resize((w // FINE, h // FINE), Image.Resampling.BOX)


def two_tiles(side: int) -> Image.Image:
    """A picture for two tiles of ``side`` pixels beside each other: a star, two circles and a sign."""
    picture = _ground(_odd(2.1 * side), _odd(1.05 * side), (164, 172, 160), (220, 214, 196))
    draw, w, h = ImageDraw.Draw(picture), picture.width, picture.height
    draw.polygon(_star(0.2 * w, 0.36 * h, 0.17 * h), fill=GREEN)
    draw.ellipse(_box(w, h, 0.5, 0.3, 0.13), fill=YELLOW)
    draw.ellipse(_box(w, h, 0.8, 0.56, 0.15), fill=RED)
    draw.rounded_rectangle((0.36 * w, 0.66 * h, 0.58 * w, 0.86 * h), radius=0.03 * h, fill=(40, 90, 60))
    _write(picture, "exit", 0.47 * w, 0.76 * h, 0.12 * h, PAPER)
    return picture.resize((w // FINE, h // FINE), Image.Resampling.BOX)


def _odd(pixels: float) -> int:
    """An odd number of pixels, so that no filter falls on whole ones."""
    return int(pixels) | 1


def _ground(width: int, height: int, left: Rgb, right: Rgb) -> Image.Image:
    """Two colours that fade into each other, darker to the bottom."""
    size = (FINE * width, FINE * height)
    down = Image.linear_gradient("L")  # 256 x 256, black above
    across = down.rotate(90).resize(size, Image.Resampling.BILINEAR)
    picture = Image.composite(Image.new("RGB", size, right), Image.new("RGB", size, left), across)
    shade = down.point([255 - value // 5 for value in range(256)]).resize(size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(picture, Image.merge("RGB", (shade, shade, shade)))


def _box(width: int, height: int, x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    """A square around a point; ``radius`` is a share of the height."""
    reach = radius * height
    return x * width - reach, y * height - reach, x * width + reach, y * height + reach


def _star(x: float, y: float, reach: float) -> list[tuple[float, float]]:
    """Ten corners of a star, from its top on."""
    outer = ((0.0, -1.0), (0.951, -0.309), (0.588, 0.809), (-0.588, 0.809), (-0.951, -0.309))
    inner = ((0.247, -0.34), (0.399, 0.13), (0.0, 0.42), (-0.399, 0.13), (-0.247, -0.34))
    return [(x + reach * u, y + reach * v) for pair in zip(outer, inner, strict=True) for u, v in pair]


def _bars(draw: ImageDraw.ImageDraw, left: float, top: float, right: float, bottom: float) -> None:
    """Five bars on paper, each narrower than the one before."""
    draw.rectangle((left, top, right, bottom), fill=PAPER, outline=INK)
    x, wide = left, (right - left) / 4
    for colour, height in ((RED, 0.45), (GREEN, 0.85), (YELLOW, 0.3), (BLUE, 0.65), (INK, 0.55)):
        draw.rectangle((x + 0.2 * wide, bottom - height * (bottom - top), x + 0.9 * wide, bottom), fill=colour)
        x, wide = x + wide, 0.78 * wide


def _write(picture: Image.Image, text: str, x: float, y: float, tall: float, ink: Rgb = INK) -> None:
    """Letters of Pillow's own font, enlarged, centred on a point."""
    font = ImageFont.load_default()
    left, top, right, bottom = map(int, ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font=font))
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font)
    size = (round(tall * mask.width / mask.height), round(tall))
    mask = mask.resize(size, Image.Resampling.BICUBIC)
    picture.paste(ink, (round(x - size[0] / 2), round(y - size[1] / 2)), mask)

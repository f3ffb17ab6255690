"""Dials, with Pillow: of the usual size, small ones, and spoiled ones that nobody reads."""

import math

from PIL import Image, ImageDraw, ImageFilter

from phantom_edge.data.scenes.boards import INK, PAPER, SMALL_CARD, STICKER, engraved, font_of, mottled
from phantom_edge.data.scenes.graph import DIAL_MARKS, Dial

Point = tuple[float, float]

DIAL_SPECK, DIAL_FADING = 0.17, 0.105
"""Width of specks on a small dial, and of the blur taken out of its needle, in radii."""
DIAL_MOTTLE = 17.0
"""Standard deviation of a small dial's specks, levels: a needle is easier to guess than letters."""


def draw_dial(image: Image.Image, item: Dial, side: int) -> None:
    """Draw a dial; ``side`` is the picture's shorter one, pixels."""
    x, y, radius = item.place.x * side, item.place.y * side, item.place.radius * side
    draw = ImageDraw.Draw(image)
    if item.small:
        _small_dial(image, item, x, y, radius)
    else:
        _usual_dial(draw, item, x, y, radius, side)
    if item.spoiled == "covered":
        cover = 0.8 * radius
        draw.rounded_rectangle((x - cover, y - cover, x + cover, y + cover), radius=cover * 0.2, fill=STICKER)
    elif item.spoiled:
        inner = round(radius * 0.9)
        box = (round(x) - inner, round(y) - inner, round(x) + inner, round(y) + inner)
        mask = Image.new("L", (2 * inner, 2 * inner), 0)
        ImageDraw.Draw(mask).ellipse((0, 0, 2 * inner - 1, 2 * inner - 1), fill=255)
        image.paste(image.crop(box).filter(ImageFilter.GaussianBlur(radius * 0.45)), box, mask)


def _small_dial(image: Image.Image, item: Dial, x: float, y: float, radius: float) -> None:
    """Draw a dial with a rim, three marks, and a needle engraved as small letters are."""
    span = round(2 * radius)
    half = span / 2
    needle, inside = (Image.new("L", (span, span), 0) for _ in range(2))
    ImageDraw.Draw(inside).ellipse((0, 0, span - 1, span - 1), fill=255)
    end = on_dial(half, half, radius * 0.75, item.value)
    ImageDraw.Draw(needle).line((half, half, *end), fill=255, width=max(1, round(radius * 0.12)))
    face = mottled((span, span), SMALL_CARD, radius * DIAL_SPECK, item.place, DIAL_MOTTLE)
    image.paste(engraved(face, needle, DIAL_FADING * radius, SMALL_CARD), (round(x - half), round(y - half)), inside)
    draw, line = ImageDraw.Draw(image), max(2, round(radius * 0.12))
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=INK, width=line)
    for mark in (0, 5, 10):
        draw.line((*on_dial(x, y, radius * 0.78, mark), *on_dial(x, y, radius * 0.95, mark)), fill=INK, width=line)


def _usual_dial(draw: ImageDraw.ImageDraw, item: Dial, x: float, y: float, radius: float, side: int) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=PAPER, outline=INK, width=max(2, side // 120))
    for mark in range(DIAL_MARKS):
        inner = 0.74 if mark % 5 == 0 else 0.84
        draw.line((*on_dial(x, y, radius * inner, mark), *on_dial(x, y, radius * 0.95, mark)), fill=INK, width=2)
        if mark % 5 == 0:
            draw.text(
                on_dial(x, y, radius * 0.52, mark),
                str(mark),
                fill=INK,
                font=font_of(0, max(6, int(radius * 0.3))),
                anchor="mm",
            )
    draw.line((x, y, *on_dial(x, y, radius * 0.82, item.value)), fill=(200, 30, 30), width=max(2, round(radius * 0.09)))
    hub = radius * 0.1
    draw.ellipse((x - hub, y - hub, x + hub, y + hub), fill=INK)


def on_dial(x: float, y: float, reach: float, value: float) -> Point:
    """Returns a point of the scale: 0 lower left, 10 lower right, clockwise over the top."""
    turn = math.radians(135 + 27 * value)
    return x + reach * math.cos(turn), y + reach * math.sin(turn)

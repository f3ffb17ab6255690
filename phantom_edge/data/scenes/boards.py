"""Boards with words, prices and digits, with Pillow: readable ones, small ones, and spoiled ones that nobody reads."""

import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from PIL.ImageFont import FreeTypeFont

from phantom_edge.data.scenes.graph import Card, Place, Sign
from phantom_edge.data.scenes.handwriting import digit_images
from phantom_edge.data.scenes.layouts import LETTER
from phantom_edge.foundation.errors import need

Rgb = tuple[int, int, int]

FONT_FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
"""Fonts of matplotlib, so that a picture does not depend on the system's."""

INK: Rgb = (35, 35, 40)
PAPER: Rgb = (250, 248, 240)
CAPITAL = 0.729
"""Height of a capital letter or digit as a share of the font's size, in the DejaVu fonts."""
STICKER: Rgb = (150, 140, 120)
SMALL_SIGN: Rgb = (90, 140, 110)
SMALL_PRICE: Rgb = (165, 145, 70)
SMALL_CARD: Rgb = (128, 128, 130)
"""Grounds of small boards: between black and white, so that letters can be both darker and lighter."""
FADING = 0.1
"""Standard deviation of the blur that is taken out of small letters, in their heights."""
SPECK, MOTTLE = 0.15, 13.0
"""Width of specks on small boards in letter heights, and their standard deviation in levels."""
TINY = 8
"""Font size of words that nobody can read, supersampled pixels."""


@cache
def font_of(number: int, height: int) -> FreeTypeFont:
    folder = Path(need("matplotlib", "scenes").get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / FONT_FILES[number], height)


def _fitted(text: str, font: int, width: float, height: float) -> FreeTypeFont:
    """Returns the largest size of a font in which ``text`` fits."""
    tall = max(5, int(height))
    left, _, right, _ = font_of(font, tall).getbbox(text)
    return font_of(font, max(5, int(tall * min(1.0, width / max(1.0, right - left)))))


def _board(width: float, height: float, text: str, font: int, fill: Rgb, ink: Rgb, spoiled: str = "") -> Image.Image:
    """Draw a board with words in its middle, transparent around."""
    board = Image.new("RGBA", (round(width), round(height)), (0, 0, 0, 0))
    draw = ImageDraw.Draw(board)
    draw.rounded_rectangle(
        (0, 0, board.width - 1, board.height - 1), radius=height * 0.12, fill=fill, outline=ink, width=2
    )
    blank = board.copy()
    fitted = _fitted(text, font, width * 0.86, height * 0.7)
    draw.text((board.width / 2, board.height / 2), text, fill=ink, font=fitted, anchor="mm")
    return _spoiled(board, blank, spoiled, text, ink) if spoiled else board


def _small_board(text: str, font: int, radius: float, ground: Rgb, spoiled: str, place: Place) -> Image.Image:
    """Draw a board around words whose capital letters are LETTER radii high."""
    letters = font_of(font, round(LETTER * radius / CAPITAL))
    left, _, right, _ = letters.getbbox(text)
    width = round(min(2.1 * radius, right - left + 0.4 * radius))
    board = mottled((width, round(0.62 * radius)), ground, SPECK * LETTER * radius, place).convert("RGBA")
    edge = max(1, round(0.03 * radius))
    ImageDraw.Draw(board).rectangle((0, 0, board.width - 1, board.height - 1), outline=INK, width=edge)
    blank = board.copy()
    mask = Image.new("L", board.size, 0)
    middle = (board.width / 2, board.height / 2)
    ImageDraw.Draw(mask).text(middle, text, fill=255, font=letters, anchor="mm")
    board = engraved(board, mask, FADING * LETTER * radius, ground)
    return _spoiled(board, blank, spoiled, text, INK) if spoiled else board


def mottled(size: tuple[int, int], ground: Rgb, speck: float, place: Place, deviation: float = MOTTLE) -> Image.Image:
    """Returns a ground with specks of a ``speck``'s width, pixels, that the ``place`` decides, whatever is on it.

    They are as coarse as a thumbnail's pixels: where letters are not resolved, nothing else gives them away.
    """
    bits = np.random.default_rng(zlib.crc32(f"{place.x:.7f} {place.y:.7f}".encode()))
    points = bits.normal(0, deviation, (max(2, round(size[1] / speck)), max(2, round(size[0] / speck)), 1))
    specks = Image.fromarray((np.array(ground) + points).clip(0, 255).astype(np.uint8))
    return specks.resize(size, Image.Resampling.BICUBIC)


def engraved(board: Image.Image, mask: Image.Image, sigma: float, ground: Rgb) -> Image.Image:
    """Returns ``board`` with the marks of ``mask`` in dark lines between light ones, opaque.

    Whatever is coarser than ``sigma``, pixels, is taken out of the marks, twice: where finer things are not resolved,
    they vanish into the ground. (Such letters are known as vanishing optotypes: Frisen, 1986.)
    """
    fine = np.asarray(mask, np.float32) / 255
    for _ in range(2):
        coarse = Image.fromarray((128 + 127 * fine).clip(0, 255).astype(np.uint8))
        fine = fine - (np.asarray(coarse.filter(ImageFilter.GaussianBlur(sigma)), np.float32) - 128) / 127
    fine *= 1 / max(1e-6, float(np.percentile(abs(fine[fine > 0.05]), 90)) if (fine > 0.05).any() else 1.0)
    swing = np.array([min(level, 255 - level) for level in ground], np.float32)
    pixels = np.asarray(board.convert("RGB"), np.float32) - fine.clip(-1, 1)[..., None] * swing
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGBA")


def _spoiled(board: Image.Image, blank: Image.Image, way: str, text: str, ink: Rgb) -> Image.Image:
    """Returns a board whose words are blurred or smeared beyond recognition, covered, or printed tiny on a blank."""
    edge = max(2, round(board.height * 0.08))
    box = (edge, edge, board.width - edge, board.height - edge)
    inside = board.crop(box)
    if way == "blurred":
        inside = inside.filter(ImageFilter.GaussianBlur(board.height * 0.22))
    elif way == "smeared":
        inside = inside.filter(ImageFilter.BoxBlur((board.width * 0.2, board.height * 0.04)))
    else:
        inside = blank.crop(box)
        draw = ImageDraw.Draw(inside)
        if way == "covered":
            margin = inside.height * 0.1
            draw.rectangle((margin, margin, inside.width - margin, inside.height - margin), fill=STICKER)
        else:
            draw.text((inside.width / 2, inside.height / 2), text, fill=ink, font=font_of(0, TINY), anchor="mm")
    board.paste(inside, box)
    return board


def _paste_centred(image: Image.Image, board: Image.Image, x: float, y: float) -> None:
    image.paste(board, (round(x - board.width / 2), round(y - board.height / 2)), board)


def draw_sign(image: Image.Image, item: Sign, side: int) -> None:
    """Draw a sign or price tag; ``side`` is the picture's shorter one, pixels."""
    x, y, radius = _pixels(item.place, side)
    fill, ink = ((255, 225, 90), INK) if item.is_price else ((40, 90, 60), PAPER)
    if item.small:
        ground = SMALL_PRICE if item.is_price else SMALL_SIGN
        board = _small_board(item.text, item.font, radius, ground, item.spoiled, item.place)
    else:
        board = _board(2.1 * radius, 0.95 * radius, item.text, item.font, fill, ink, item.spoiled)
    _paste_centred(image, board.rotate(item.angle, Image.Resampling.BICUBIC, expand=True), x, y)


def draw_card(image: Image.Image, item: Card, side: int) -> None:
    """Draw a card with digits; ``side`` is the picture's shorter one, pixels."""
    x, y, radius = _pixels(item.place, side)
    if item.small:
        _paste_centred(image, _small_board(item.digits, item.font, radius, SMALL_CARD, item.spoiled, item.place), x, y)
        return
    if item.samples is None:
        _paste_centred(image, _board(2 * radius, 1.2 * radius, item.digits, item.font, PAPER, INK, item.spoiled), x, y)
        return
    ink, _ = digit_images()
    tall = round(0.95 * radius)
    wide = min(round(tall * 0.72), round(2 * radius / (len(item.samples) + 0.5)))
    board = Image.new("RGBA", (wide * len(item.samples) + wide // 2, round(1.2 * radius)), (*PAPER, 255))
    ImageDraw.Draw(board).rectangle((0, 0, board.width - 1, board.height - 1), outline=INK, width=2)
    blank = board.copy()
    for i, sample in enumerate(item.samples):
        digit = Image.fromarray(ink[sample]).resize((wide, tall), Image.Resampling.BICUBIC)
        board.paste(INK, (wide // 4 + i * wide, (board.height - tall) // 2), digit)
    if item.spoiled:
        board = _spoiled(board, blank, item.spoiled, item.digits, INK)
    _paste_centred(image, board, x, y)


def _pixels(place: Place, side: int) -> tuple[float, float, float]:
    return place.x * side, place.y * side, place.radius * side

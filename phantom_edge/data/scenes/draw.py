"""From a scene graph to pixels, with Pillow."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from phantom_edge.data.scenes.boards import INK, PAPER, Rgb, draw_card, draw_sign
from phantom_edge.data.scenes.dials import draw_dial
from phantom_edge.data.scenes.graph import (
    COLOURS,
    Arrow,
    Bars,
    Card,
    Dial,
    Item,
    Place,
    Scene,
    Sign,
    Solid,
)
from phantom_edge.data.scenes.items import reach
from phantom_edge.data.scenes.light import covered, grainy, slope

Point = tuple[float, float]

SUPERSAMPLING = 2
SMALL_SUPERSAMPLING = 4


def draw_scene(scene: Scene, size: int = 224) -> Image.Image:
    """Draw the picture of ``scene``, RGB: ``size`` x ``size``, or the scene's own pixels if it has any."""
    if scene.pixels:
        return _draw_shaped(scene, scene.pixels)
    side = size * SUPERSAMPLING
    random = np.random.default_rng(zlib.crc32(scene.key.encode()))
    image = Image.new("RGB", (side, side), scene.look.ground)
    draw = ImageDraw.Draw(image)
    for _ in range(scene.look.clutter):
        _clutter(draw, scene.look.ground, side, random)
    for item in scene.items:
        _draw_item(image, item, side)
    image = image.resize((size, size), Image.Resampling.BOX)
    if scene.look.blur:
        image = image.filter(ImageFilter.GaussianBlur(scene.look.blur * size / 224))
    return _lit(image, scene, random)


def _draw_shaped(scene: Scene, pixels: tuple[int, int]) -> Image.Image:
    """Draw a picture of any shape. Only the items are supersampled, each on a patch: most of a picture is ground."""
    side = min(pixels)
    random = np.random.default_rng(zlib.crc32(scene.key.encode()))
    image = Image.new("RGB", pixels, scene.look.ground)
    draw = ImageDraw.Draw(image)
    for _ in range(scene.look.clutter):
        _clutter(draw, scene.look.ground, side, random, (scene.width, scene.height))
    for item in scene.items:
        _draw_patch(image, [item], side, SMALL_SUPERSAMPLING if getattr(item, "small", False) else SUPERSAMPLING)
    for row in scene.rows:
        _draw_patch(image, row.members, side, SMALL_SUPERSAMPLING)
    sigma = scene.look.blur * side / 224
    if sigma:  # a box as wide as the bell, in a third of its time
        image = image.filter(ImageFilter.BoxBlur((math.sqrt(12 * sigma**2 + 1) - 1) / 2))
    if scene.frame:
        random = np.random.default_rng(zlib.crc32(f"{scene.key}/frame {scene.frame}".encode()))
    light = scene.look.light * (slope(scene.look.light_angle) - np.float32(0.5))
    covered(image, -light, (0, 0, 0))
    return grainy(image, scene.look.noise, random, grey=True)


def _draw_patch(image: Image.Image, items: Sequence[Item], side: int, supersampling: int) -> None:
    """Draw items on an enlarged copy of their surroundings, and put it back."""
    boxes = [(item.place, *reach(item)) for item in items]
    left = max(0, math.floor(min(place.x - across for place, across, _ in boxes) * side) - 3)
    top = max(0, math.floor(min(place.y - down for place, _, down in boxes) * side) - 3)
    right = min(image.width, math.ceil(max(place.x + across for place, across, _ in boxes) * side) + 3)
    bottom = min(image.height, math.ceil(max(place.y + down for place, _, down in boxes) * side) + 3)
    patch = image.crop((left, top, right, bottom))
    large = patch.resize((patch.width * supersampling, patch.height * supersampling), Image.Resampling.NEAREST)
    for item in items:
        place = Place(item.place.x - left / side, item.place.y - top / side, item.place.radius)
        _draw_item(large, replace(item, place=place), side * supersampling)
    image.paste(large.reduce(supersampling), (left, top))


def _draw_item(image: Image.Image, item: Item, side: int) -> None:
    match item:
        case Solid():
            _solid(image, item, side)
        case Sign():
            draw_sign(image, item, side)
        case Card():
            draw_card(image, item, side)
        case Arrow():
            _arrow(image, item, side)
        case Dial():
            draw_dial(image, item, side)
        case Bars():
            _bars(image, item, side)


def _lit(image: Image.Image, scene: Scene, random: np.random.Generator) -> Image.Image:
    """Add light from one side, and a camera's noise."""
    size = image.width
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    across = axis[None, :] * math.cos(scene.look.light_angle) + axis[:, None] * math.sin(scene.look.light_angle)
    pixels = np.asarray(image, dtype=np.float32) * (1 - scene.look.light * 0.5 + scene.look.light * across)[..., None]
    pixels += random.standard_normal((size, size, 1), dtype=np.float32) * scene.look.noise
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _clutter(
    draw: ImageDraw.ImageDraw,
    ground: Rgb,
    side: int,
    random: np.random.Generator,
    shape: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Draw a faint line or patch on the ground."""
    shade = int(random.integers(-22, 22))
    colour = (ground[0] + shade, ground[1] + shade, ground[2] + shade)
    x0, y0, x1, y1 = (float(v) for v in random.uniform(0, side, 4) * (*shape, *shape))
    if random.random() < 0.5:
        draw.line((x0, y0, x1, y1), fill=colour, width=int(random.integers(1, max(2, side // 60))))
    else:
        draw.ellipse((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=colour)


def _pixels(place: Place, side: int) -> tuple[float, float, float]:
    return place.x * side, place.y * side, place.radius * side


def _solid(image: Image.Image, item: Solid, side: int) -> None:
    x, y, radius = _pixels(item.place, side)
    span = max(4, round(2 * radius))
    mask = Image.new("L", (span, span), 0)
    outline = _outline(item.shape, span / 2, item.angle)
    draw = ImageDraw.Draw(mask)
    if outline is None:
        draw.ellipse((0, 0, span - 1, span - 1), fill=255)
        if item.shape == "ring":
            draw.ellipse((span * 0.27, span * 0.27, span * 0.73, span * 0.73), fill=0)
    else:
        draw.polygon(outline, fill=255)
    at = (round(x - span / 2), round(y - span / 2))
    offset = max(1, side // 150)
    image.paste((0, 0, 0), (at[0] + offset, at[1] + offset), mask.point([v // 4 for v in range(256)]))
    image.paste(_textured(item.texture, COLOURS[item.colour], span), at, mask)


def _outline(shape: str, half: float, angle: float) -> list[Point] | None:
    """Returns corners of a shape in a square of side 2 * half; None for the round ones."""

    def ring(count: int, start: float, radii: tuple[float, ...] = (1.0,)) -> list[Point]:
        corners = []
        for i in range(count):
            turn = math.radians(start + angle + 360 * i / count)
            reach = half * radii[i % len(radii)]
            corners.append((half + reach * math.cos(turn), half + reach * math.sin(turn)))
        return corners

    if shape == "cross":
        arm = (0.32, 0.68)
        steps: tuple[Point, ...] = (
            (arm[0], 0),
            (arm[1], 0),
            (arm[1], arm[0]),
            (1, arm[0]),
            (1, arm[1]),
            (arm[1], arm[1]),
        )
        steps += ((arm[1], 1), (arm[0], 1), (arm[0], arm[1]), (0, arm[1]), (0, arm[0]), (arm[0], arm[0]))
        return [(2 * half * u, 2 * half * v) for u, v in steps]
    outlines: dict[str, Callable[[], list[Point]]] = {
        "square": lambda: ring(4, 45, (1.1,)),
        "diamond": lambda: ring(4, 0),
        "triangle": lambda: ring(3, -90),
        "hexagon": lambda: ring(6, 0),
        "star": lambda: ring(10, -90, (1.0, 0.42)),
    }
    return outlines[shape]() if shape in outlines else None


def _textured(texture: str, colour: Rgb, span: int) -> Image.Image:
    """Draw a square of a material in a colour and a shade of it."""
    if texture == "shiny":
        bright = np.linspace(1.25, 0.75, span, dtype=np.float32)[:, None, None]
        return Image.fromarray((np.full((span, span, 3), colour) * bright).clip(0, 255).astype(np.uint8))
    image = Image.new("RGB", (span, span), colour)
    draw, shade = ImageDraw.Draw(image), _shade(colour, 0.72 if sum(colour) > 200 else 2.2)
    step = max(4, span // 6)
    if texture == "striped":
        for x in range(-span, 2 * span, step):
            draw.line((x, 0, x + span, span), fill=shade, width=max(1, step // 3))
    cells = [(x, y) for x in range(0, span, step) for y in range(0, span, step)]
    if texture == "dotted":
        for x, y in cells:
            draw.ellipse((x + 0.3 * step, y + 0.3 * step, x + 0.7 * step, y + 0.7 * step), fill=shade)
    if texture == "checkered":
        for x, y in cells:
            if (x // step + y // step) % 2:
                draw.rectangle((x, y, x + step - 1, y + step - 1), fill=shade)
    return image


def _shade(colour: Rgb, factor: float) -> Rgb:
    red, green, blue = (min(255, int(channel * factor) + (20 if factor > 1 else 0)) for channel in colour)
    return red, green, blue


def _arrow(image: Image.Image, item: Arrow, side: int) -> None:
    x, y, radius = _pixels(item.place, side)
    turn = {"right": 0, "down": 90, "left": 180, "up": 270}[item.direction]
    cos, sin = round(math.cos(math.radians(turn))), round(math.sin(math.radians(turn)))
    outline = ((-1, -0.22), (0.2, -0.22), (0.2, -0.6), (1, 0), (0.2, 0.6), (0.2, 0.22), (-1, 0.22))
    points = [(x + radius * (u * cos - v * sin), y + radius * (u * sin + v * cos)) for u, v in outline]
    ImageDraw.Draw(image).polygon(points, fill=COLOURS[item.colour], outline=INK)


def _bars(image: Image.Image, item: Bars, side: int) -> None:
    x, y, radius = _pixels(item.place, side)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = x - radius, y - radius * 0.85, x + radius, y + radius * 0.85
    draw.rectangle((left, top, right, bottom), fill=PAPER, outline=INK)
    pitch = (right - left) / len(item.colours)
    floor, room = bottom - radius * 0.08, (bottom - top) * 0.88
    for i, (colour, height) in enumerate(zip(item.colours, item.heights, strict=True)):
        start = left + pitch * (i + 0.18)
        draw.rectangle((start, floor - room * height, start + pitch * 0.64, floor), fill=COLOURS[colour])
    draw.line((left, floor, right, floor), fill=INK, width=2)

"""A picture on a screen or on paper, as a phone's camera sees it. Same seed and strength, same photograph."""

import io
import math
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from phantom_edge.data.scenes.desk import desk, finger
from phantom_edge.data.scenes.light import covered, grainy, slope

Point = tuple[float, float]


@dataclass(frozen=True)
class Shot:
    """Everything that is random about a photograph.

    Between ``strength`` s = 0 (mild) and 1 (hard), drawn evenly unless another law is named:

    - ``on_screen``: half of the photographs show a screen, the others a print.
    - ``fill``: share of the frame's width and height that the picture takes, from 0.98 - 0.16 s to 0.98.
    - ``corners``: shift of each corner by up to 0.004 + 0.035 s of the sides, inwards; ``turn`` up to 1 + 4 s degrees.
    - ``defocus``: radius of a box blur, up to 0.25 + 0.5 s pixels; ``motion``: shift during the exposure, up to
      0.5 + 1.5 s pixels, in three of ten photographs, otherwise none.
    - ``gains``: of red and blue, 1 - 0.06 - 0.14 s to 1 + 0.06 + 0.14 s; ``exposure``: 2 to the power of up to
      0.15 + 0.35 s either way; ``gamma``: 1 - 0.05 - 0.15 s to 1 + 0.05 + 0.15 s.
    - ``noise``: standard deviation from 1 to 3 + 9 s of 255 levels; ``quality`` of JPEG, 92 - 50 s to 95.
    - ``moire``: amplitude of up to 0.03 + 0.09 s of the brightness, on screens alone.
    - ``glare``: greatest share of white in a spot, up to 0.15 + 0.35 s, in half of the photographs.
    - ``shadow``: greatest darkening on one side, up to 0.1 + 0.3 s, in the other half.
    - ``fingers``: 0 to 2 on the picture's border, in 0.2 + 0.4 s of the photographs.
    """

    on_screen: bool
    fill: float
    corners: tuple[Point, Point, Point, Point]
    turn: float
    defocus: float
    motion: float
    direction: float
    gains: tuple[float, float, float]
    gamma: float
    noise: float
    quality: int
    moire: float
    glare: float
    shadow: float
    fingers: int


def draw_shot(random: Random, strength: float) -> Shot:
    """Returns a random shot of a ``strength`` from 0 (mild) to 1 (hard); the ranges are those of :class:`Shot`."""
    s = strength
    on_screen = random.random() < 0.5
    exposure = 2 ** random.uniform(-0.15 - 0.35 * s, 0.15 + 0.35 * s)
    tint = 0.06 + 0.14 * s
    most = 0.004 + 0.035 * s
    one, two, three, four = ((random.uniform(0, most), random.uniform(0, most)) for _ in range(4))
    return Shot(
        on_screen=on_screen,
        fill=random.uniform(0.98 - 0.16 * s, 0.98),
        corners=(one, two, three, four),
        turn=math.radians(random.uniform(-1 - 4 * s, 1 + 4 * s)),
        defocus=random.uniform(0, 0.25 + 0.5 * s),
        motion=random.uniform(0, 0.5 + 1.5 * s) if random.random() < 0.3 else 0.0,
        direction=random.uniform(0, math.pi),
        gains=(exposure * random.uniform(1 - tint, 1 + tint), exposure, exposure * random.uniform(1 - tint, 1 + tint)),
        gamma=random.uniform(0.95 - 0.15 * s, 1.05 + 0.15 * s),
        noise=random.uniform(1, 3 + 9 * s),
        quality=round(random.uniform(92 - 50 * s, 95)),
        moire=random.uniform(0, 0.03 + 0.09 * s) if on_screen else 0.0,
        glare=random.uniform(0, 0.15 + 0.35 * s) if random.random() < 0.5 else 0.0,
        shadow=random.uniform(0, 0.1 + 0.3 * s),
        fingers=random.randint(1, 2) if random.random() < 0.2 + 0.4 * s else 0,
    )


def photograph(
    image: Image.Image, seed: int | str, strength: float = 0.5, size: tuple[int, int] | None = None
) -> Image.Image:
    """Returns ``image`` as photographed from a screen or a print on a desk, RGB, of ``size`` (its own by default).

    ``strength`` runs from 0 (mild) to 1 (hard); :class:`Shot` lists what is drawn from ``seed``. The whole picture
    stays in the frame, and fingers reach over its border by at most a fiftieth of its shorter side.
    """
    assert 0 <= strength <= 1, strength
    random = Random(f"camera {seed} {strength}")
    shot = draw_shot(random, strength)
    size = size or image.size
    bits = np.random.default_rng(random.randrange(2**32))
    quad = quad_of(shot, size)
    shown = _moire(image, shot, bits) if shot.moire else image
    frame = _on_desk(shown, quad, size, shot, random)
    frame = _blurred(frame, shot)
    frame = _lit(frame, shot, random, bits)
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=shot.quality)
    return Image.open(buffer).convert("RGB")


def quad_of(shot: Shot, size: tuple[int, int]) -> NDArray[np.float64]:
    """Returns the picture's corners in the frame, pixels: (4, 2), clockwise from the top left. All lie inside."""
    width, height = size
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], float)
    half = np.array([width, height]) * shot.fill / 2
    corners = signs * (half - np.array(shot.corners) * (width, height))
    cos, sin = math.cos(shot.turn), math.sin(shot.turn)
    corners = corners @ np.array([[cos, sin], [-sin, cos]])
    out = (np.abs(corners) / (np.array([width, height]) / 2)).max()
    return corners / max(1.0, out) + np.array([width, height]) / 2  # type: ignore[no-any-return]


def _on_desk(
    image: Image.Image, quad: NDArray[np.float64], size: tuple[int, int], shot: Shot, random: Random
) -> Image.Image:
    """Returns the frame: a desk, the screen's bezel or the sheet's margin, the picture in perspective, fingers."""
    frame = desk(size, random)
    draw = ImageDraw.Draw(frame)
    middle = quad.mean(axis=0)
    rim = 1 + (0.04 if shot.on_screen else random.uniform(0.0, 0.08))
    shade = (22, 22, 24) if shot.on_screen else (244, 243, 240)
    draw.polygon([tuple(point) for point in (quad - middle) * rim + middle], fill=shade)
    corners = np.array([(0, 0), (image.width, 0), (image.width, image.height), (0, image.height)], float)
    warped = image.transform(size, Image.Transform.PERSPECTIVE, _perspective(quad, corners), Image.Resampling.BILINEAR)
    mask = Image.new("L", size, 0)
    inside = middle + (quad - middle) * (1 - 3 / min(size))  # beyond its edge the picture is black
    ImageDraw.Draw(mask).polygon([tuple(point) for point in inside], fill=255)
    frame.paste(warped, (0, 0), mask)
    for _ in range(shot.fingers):
        finger(frame, quad, random)
    return frame


def _perspective(source: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, ...]:
    """Returns Pillow's eight numbers of the projective map that takes four points to four others."""
    rows, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        right += [u, v]
    return tuple(float(number) for number in np.linalg.solve(np.array(rows), np.array(right)))


def _moire(image: Image.Image, shot: Shot, bits: np.random.Generator) -> Image.Image:
    """Returns ``image`` with stripes in which the screen's and the sensor's grids beat, a little apart by colour."""
    x, y = (np.arange(side, dtype=np.float32) for side in image.size)
    x *= 1 + 0.15 * np.sin(x / image.width * math.pi + float(bits.uniform(0, 6)))  # bent, as screens seldom are flat on
    period, angle, phase = float(bits.uniform(5, 40)), float(bits.uniform(0, math.pi)), float(bits.uniform(0, 6))
    bands = []
    for channel in range(3):
        turns = 2 * math.pi / (period * (1 + 0.04 * channel))
        across, down = turns * math.cos(angle) * x + phase, turns * math.sin(angle) * y + 0.5 * channel
        wave = np.outer(np.cos(down), np.cos(across) * (127 * shot.moire))
        wave -= np.outer(np.sin(down), np.sin(across) * (127 * shot.moire))
        wave += 255 - 127 * shot.moire
        bands.append(Image.fromarray(wave.astype(np.uint8)))
    return ImageChops.multiply(image, Image.merge("RGB", bands))


def _blurred(frame: Image.Image, shot: Shot) -> Image.Image:
    """Returns the frame out of focus, and moved during the exposure.

    Two blends with neighbours along each axis have the spread of a box of the same radius, and take no time.
    """
    spread = ((2 * shot.defocus + 1) ** 2 - 1) / 12  # variance of the box
    weight = 0.5 - 0.5 * math.sqrt(max(0.0, 1 - 2 * spread))  # two blends: 2 * weight * (1 - weight)
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        frame = Image.blend(frame, ImageChops.offset(frame, *shift), weight)
    across = round(shot.motion * math.cos(shot.direction)), round(shot.motion * math.sin(shot.direction))
    if any(across):
        frame = Image.blend(frame, ImageChops.offset(frame, *across), 0.5)
    return frame


def _lit(frame: Image.Image, shot: Shot, random: Random, bits: np.random.Generator) -> Image.Image:
    """Returns the frame in its light: white balance, exposure, gamma, a shadow or glare, and the sensor's noise."""
    levels = (np.arange(256) / 255) ** shot.gamma * 255
    frame = frame.point([round(min(255.0, level * gain)) for gain in shot.gains for level in levels])
    if shot.glare:
        covered(frame, _spot(random) * np.float32(shot.glare), (255, 255, 250))
    else:
        depth = (0.5 + 1.4 * slope(random.uniform(0, 2 * math.pi))).clip(0, 1)
        covered(frame, depth * np.float32(shot.shadow), (0, 0, 0))
    return grainy(frame, shot.noise, bits)


def _spot(random: Random) -> NDArray[np.float32]:
    """Returns the share of a lamp's light at 48 x 48 points, at most 1."""
    x, y = (np.linspace(0, 1, 48, dtype=np.float32) - random.random() for _ in range(2))
    radius, flat = random.uniform(0.1, 0.25), random.uniform(0.4, 1.0)
    return np.exp(-((x[None] / radius) ** 2 + (y[:, None] / (radius * flat)) ** 2) / 2)

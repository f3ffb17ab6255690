"""The camera: deterministic, within its stated ranges, and never hiding what is asked about."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phantom_edge.data.scenes.camera import draw_shot, photograph, quad_of
from phantom_edge.data.scenes.desk import MOST_COVER, finger
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.sample import make_scene

some = settings(max_examples=60, deadline=None)
strengths = st.floats(0, 1)
sizes = st.sampled_from(((224, 224), (448, 448), (672, 224), (224, 672)))


def test_same_seed_same_photograph() -> None:
    picture = draw_scene(make_scene(1))
    one = photograph(picture, 7)
    assert one.tobytes() == photograph(picture, 7).tobytes() and one.mode == "RGB"
    assert one.tobytes() != photograph(picture, 8).tobytes()
    assert one.tobytes() != photograph(picture, 7, 0.6).tobytes()
    assert photograph(picture, 7, size=(320, 240)).size == (320, 240)


@some
@given(seed=st.integers(0, 10**6), strength=strengths, size=sizes)
def test_the_whole_picture_is_in_the_frame(seed: int, strength: float, size: tuple[int, int]) -> None:
    shot = draw_shot(Random(seed), strength)
    quad = quad_of(shot, size)
    assert quad.min() >= -1e-6 and (quad <= np.array(size) + 1e-6).all()
    across = np.linalg.norm(quad[1] - quad[0]), np.linalg.norm(quad[2] - quad[3])
    assert min(across) > 0.6 * size[0]
    (ax, ay), (bx, by) = quad[1] - quad[0], quad[3] - quad[0]
    assert ax * by - ay * bx > 0  # clockwise: never mirrored


@some
@given(seed=st.integers(0, 10**6), strength=strengths)
def test_shots_stay_in_their_ranges(seed: int, strength: float) -> None:
    shot, s = draw_shot(Random(seed), strength), strength
    assert 0.98 - 0.16 * s <= shot.fill <= 0.98
    assert 0 <= shot.defocus <= 0.25 + 0.5 * s and 0 <= shot.motion <= 0.5 + 1.5 * s
    assert 1 <= shot.noise <= 3 + 9 * s and 92 - 50 * s - 1 <= shot.quality <= 95
    assert shot.glare <= 0.15 + 0.35 * s and shot.shadow <= 0.1 + 0.3 * s and shot.fingers in (0, 1, 2)
    assert shot.moire == 0 or shot.on_screen
    red, green, blue = shot.gains
    for gain in (red / green, blue / green):
        assert 1 - 0.06 - 0.14 * s <= gain <= 1 + 0.06 + 0.14 * s
    assert 2 ** -(0.15 + 0.35 * s) <= green <= 2 ** (0.15 + 0.35 * s)


def test_a_harder_camera_changes_more() -> None:
    picture = draw_scene(make_scene(2), 448)
    plain = np.asarray(picture, float)

    def change(strength: float) -> float:
        return float(np.mean([np.abs(np.asarray(photograph(picture, n, strength), float) - plain) for n in range(12)]))

    assert 1 < change(0.0) < change(0.5) < change(1.0) < 90


@some
@given(seed=st.integers(0, 10**6), strength=strengths, size=sizes)
def test_fingers_only_touch_the_border(seed: int, strength: float, size: tuple[int, int]) -> None:
    random = Random(seed)
    quad = quad_of(draw_shot(random, strength), size)
    frame = Image.new("RGB", size, (0, 0, 255))
    finger(frame, quad, random)
    touched = np.argwhere((np.asarray(frame) != (0, 0, 255)).any(-1))[:, ::-1] + 0.5
    shorter = min(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[1] - quad[2]))
    depth = np.full(len(touched), np.inf)
    for start, end in zip(quad, np.roll(quad, -1, 0), strict=True):
        inwards = np.array([-(end - start)[1], (end - start)[0]]) / np.linalg.norm(end - start)
        depth = np.minimum(depth, (touched - start) @ inwards)
    assert depth.max(initial=0) <= MOST_COVER * shorter + 1.5


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_contents_stay_at_their_place(strength: float) -> None:
    """A black and white board of four fields is recognized where the perspective puts it."""
    fields = np.zeros((240, 240, 3), np.uint8)
    fields[:120, 120:] = fields[120:, :120] = 235
    for seed in range(15):
        photo = np.asarray(photograph(Image.fromarray(fields), seed, strength).convert("L"), float)
        shot = draw_shot(Random(f"camera {seed} {strength}"), strength)
        quad = quad_of(shot, (240, 240))
        middle = quad.mean(axis=0)
        levels = [photo[tuple(np.round((corner + middle) / 2).astype(int)[::-1])] for corner in quad]
        assert min(levels[1], levels[3]) > max(levels[0], levels[2]) + 30, (seed, levels)

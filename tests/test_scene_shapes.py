"""Scenes of any shape: sizes, grids, and small things that tiles show and a thumbnail does not."""

import re
from collections import Counter
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.boards import MOTTLE
from phantom_edge.data.scenes.dials import DIAL_MOTTLE
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.graph import Card, Dial, Look, Row, Scene, Sign, Solid
from phantom_edge.data.scenes.items import reach
from phantom_edge.data.scenes.layouts import (
    FINE_GRIDS,
    LEAST_LETTERS,
    ROW_RADII,
    SMALL_DIALS,
    SPOILED_SHARE,
    THUMBNAIL_LETTERS,
)
from phantom_edge.data.scenes.questions import MORE_KINDS, ask
from phantom_edge.data.scenes.sample import SPLITS, Mix, make_scene
from phantom_edge.data.scenes.shapes import GRIDS, LONGEST, SHORTEST, VIEW, draw_pixels, pixels_per_unit
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.tiling import choose_grid, split_tiles

seeds = st.integers(0, 10**9)
some = settings(max_examples=150, deadline=None)
CLEAN = Look(ground=(190, 190, 190), light=0, light_angle=0, blur=0, noise=0, clutter=0)


def tiles_and_thumbnail(picture: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The picture as all tiles show it together, and as the thumbnail does."""
    columns, rows = choose_grid(*picture.size, VIEW)
    *tiles, thumbnail = split_tiles(picture, VIEW)
    whole = Image.new("RGB", (columns * VIEW.tile_size, rows * VIEW.tile_size))
    for number, tile in enumerate(tiles):
        whole.paste(tile, (number % columns * VIEW.tile_size, number // columns * VIEW.tile_size))
    return whole, thumbnail


def test_pictures_are_made_for_nanos_tiles() -> None:
    nano = SIZES["nano"]
    assert VIEW.tile_size == nano.vision.image and (VIEW.min_tiles, VIEW.max_tiles) == (1, nano.max_tiles)


def test_every_grid_occurs_and_sides_stay_in_bounds() -> None:
    sizes = [draw_pixels(Random(seed)) for seed in range(4000)]
    found = Counter(choose_grid(*size, VIEW) for size in sizes)
    assert set(found) == set(GRIDS)
    assert min(min(size) for size in sizes) == SHORTEST and max(max(size) for size in sizes) == LONGEST
    ordinary = [size for size in sizes if max(size) <= 3 * min(size)]
    assert len(ordinary) > 0.85 * len(sizes)
    assert any(width > 2.5 * height for width, height in ordinary)
    assert any(height > 2.5 * width for width, height in ordinary)


@some
@given(seed=seeds, split=st.sampled_from(SPLITS), mix=st.sampled_from(("wide", "fine")))
def test_same_seed_same_scene_and_its_own_size(seed: int, split: str, mix: Mix) -> None:
    scene = make_scene(seed, split, mix)
    assert scene == make_scene(seed, split, mix) and scene.pixels is not None
    assert min(scene.width, scene.height) == 1
    assert scene != make_scene(seed, {"train": "test"}.get(split, "train"), mix)


def test_pixels_can_be_asked_for() -> None:
    for mix in ("wide", "fine"):
        scene = make_scene(3, "train", mix, (672, 448))
        assert draw_scene(scene).size == (672, 448)
        assert draw_scene(scene).tobytes() == draw_scene(make_scene(3, "train", mix, (672, 448))).tobytes()
    with pytest.raises(EdgeError, match="nothing that only tiles show"):
        make_scene(3, "train", "fine", (224, 224))


def test_round_shapes_are_round_at_any_ratio() -> None:
    for pixels in ((224, 672), (672, 224), (500, 448), (1344, 224)):
        scene = make_scene(0, mix="wide", pixels=pixels)
        circle = Solid(graph.Place(scene.width / 2, scene.height / 2, 0.2), "circle", "red", True, "plain", 0)
        box = ImageChops.difference(
            draw_scene(replace(scene, items=(circle,), look=CLEAN)), Image.new("RGB", pixels, CLEAN.ground)
        ).getbbox()
        assert box is not None
        assert box[2] - box[0] == pytest.approx(0.4 * min(pixels), abs=4)
        assert box[2] - box[0] == pytest.approx(box[3] - box[1], abs=1)


@some
@given(seed=seeds)
def test_fine_things_keep_apart_and_small(seed: int) -> None:
    scene = make_scene(seed, mix="fine")
    assert scene.pixels and choose_grid(*scene.pixels, VIEW) in FINE_GRIDS
    things = [(item.place.x, item.place.y, *reach(item)) for item in scene.items]
    for row in scene.rows:
        first, last = row.members[0].place, row.members[-1].place
        things.append(((first.x + last.x) / 2, first.y, (last.x - first.x) / 2 + first.radius, first.radius))
    for one, two in combinations(things, 2):
        assert abs(one[0] - two[0]) >= one[2] + two[2] or abs(one[1] - two[1]) >= one[3] + two[3]
    across, down = pixels_per_unit(scene.pixels)
    columns, rows = choose_grid(*scene.pixels, VIEW)
    for row in scene.rows:
        assert 5 <= len(row.members) <= len(graph.ORDINALS)
        radius = row.members[0].place.radius * min(across, down)
        assert ROW_RADII[0] - 0.01 <= radius <= ROW_RADII[1] + 0.01
    for item in scene.items:
        if isinstance(item, Dial) and item.small:
            radius = item.place.radius * (across * down / (columns * rows)) ** 0.5
            assert radius <= SMALL_DIALS[1] + 0.01
            assert item.place.radius * max(across, down) >= SMALL_DIALS[0] - 0.5


def marks(scene: Scene, item: Card | Dial, without: Card | Dial) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels that ``item`` adds to a picture of nothing else, in the tiles and in the thumbnail."""
    shown, hidden = (
        tiles_and_thumbnail(draw_scene(replace(scene, items=(one,), rows=(), look=CLEAN))) for one in (item, without)
    )
    tiles, thumbnail = (
        np.asarray(one.convert("L"), float) - np.asarray(other.convert("L"), float)
        for one, other in zip(shown, hidden, strict=True)
    )
    return tiles, thumbnail


def small_cards(count: int) -> list[tuple[Scene, Card]]:
    found = []
    for seed in range(count):
        scene = make_scene(seed, mix="fine")
        found += [
            (scene, replace(item, digits="808", spoiled=""))
            for item in scene.items
            if isinstance(item, Card) and item.small
        ]
    return found


def test_small_digits_have_their_height_in_tiles_and_little_in_the_thumbnail() -> None:
    """Measured in pixels of drawn pictures, within a pixel, against a board whose digits are tiny."""
    cards = small_cards(100)
    assert len(cards) > 30
    for scene, card in cards:
        tiles, thumbnail = marks(scene, card, replace(card, spoiled="tiny"))
        rows = np.flatnonzero((tiles < -30).any(1))  # the dark lines
        height = rows[-1] - rows[0] + 1
        assert height >= LEAST_LETTERS - 1
        assert (height - 1) * thumbnail.shape[0] / tiles.shape[0] <= THUMBNAIL_LETTERS


def test_small_letters_fade_in_the_thumbnail() -> None:
    """What they add to the board is several times as strong as its specks in the tiles, in the thumbnail far weaker."""
    found = []
    for scene, card in small_cards(60):
        tiles, thumbnail = marks(scene, card, replace(card, spoiled="tiny"))
        found.append([np.sqrt((one[abs(one) > 1] ** 2).mean()) for one in (tiles, thumbnail)])
    shown, left = np.array(found).T
    assert shown.min() > 3 * MOTTLE and (left / shown).max() < 0.7 and np.median(left / shown) < 0.5


def test_a_small_needle_fades_in_the_thumbnail() -> None:
    scene = make_scene(0, mix="fine", pixels=(448, 448))
    for value in (0, 3, 5, 8):
        dial = Dial(graph.Place(0.4, 0.6, 0.0268), value, small=True)
        tiles, thumbnail = marks(scene, dial, replace(dial, value=(value + 4) % graph.DIAL_MARKS))
        assert abs(tiles).max() > 6 * DIAL_MOTTLE and abs(thumbnail).max() < 0.45 * abs(tiles).max()


def truth(scene: Scene, text: str) -> str:
    """The answer to ``text`` about something small, read off the graph by the words of the question alone."""

    def only(kind: type, **wanted: Any) -> Any:
        (item,) = [
            i
            for i in scene.items
            if isinstance(i, kind) and i.small and all(getattr(i, k) == v for k, v in wanted.items())
        ]
        assert not item.spoiled
        return item

    if text == "What does the small sign say?":
        return str(only(Sign, is_price=False).text)
    if text == "What is the small price?":
        return str(only(Sign, is_price=True).text)
    if text == "What number is on the small card?":
        return str(only(Card).digits)
    if text == "What does the small dial show?":
        return str(only(Dial).value)
    (row,) = scene.rows
    members = sorted(row.members, key=lambda member: member.place.x)
    if found := re.fullmatch(r"Which shape is (\w+) from the (left|right) in the row\?", text):
        at = graph.ORDINALS.index(found[1])
        member = members[at] if found[2] == "left" else members[-1 - at]
        return f"{member.colour} {member.shape}"
    if found := re.fullmatch(r"How many (\w+) shapes are in the row\?", text):
        return str([member.colour for member in members].count(found[1]))
    found = re.fullmatch(r"How many (\w+) are in the row\?", text)
    assert found, text
    return str([m.shape + ("es" if m.shape == "cross" else "s") for m in members].count(found[1]))


@some
@given(seed=seeds, split=st.sampled_from(SPLITS), number=st.integers(0, 3))
def test_answers_about_small_things_are_true(seed: int, split: str, number: int) -> None:
    scene = make_scene(seed, split, "fine")
    for question in ask(scene, tuple(MORE_KINDS), number):
        right = truth(scene, question.text)
        assert question.answer == right and right not in question.rejected and question.rejected


@some
@given(seed=seeds, number=st.integers(0, 3))
def test_nothing_unreadable_or_ambiguous_is_read(seed: int, number: int) -> None:
    for mix in ("wide", "fine"):
        scene = make_scene(seed, "train", mix)
        for question in ask(scene, ("text", "digits", "dial"), number):
            kind = {"text": Sign, "digits": Card, "dial": Dial}[question.kind]
            is_price = question.text == "What is the price?"
            there = [i for i in scene.items if isinstance(i, kind) and getattr(i, "is_price", False) == is_price]
            assert len(there) == 1 and not there[0].spoiled and not there[0].small
        if any(isinstance(row, Row) for row in scene.rows):
            assert not {"existence", "count", "colour", "shape"} & {q.kind for q in ask(scene, round=number)}


def test_some_boards_are_spoiled_and_look_different() -> None:
    scenes = [make_scene(seed, mix="fine") for seed in range(400)]
    boards = [item for scene in scenes for item in scene.items if isinstance(item, Sign | Card)]
    spoiled = Counter(item.spoiled for item in boards)
    assert set(spoiled) == {"", *graph.SPOILS}
    assert 0.7 * SPOILED_SHARE < 1 - spoiled[""] / spoiled.total() < 1.3 * SPOILED_SHARE
    scene = next(scene for scene in scenes if any(isinstance(item, Sign) for item in scene.items))
    sign = next(item for item in scene.items if isinstance(item, Sign))
    pictures = {
        way: draw_scene(replace(scene, items=(replace(sign, spoiled=way),), look=CLEAN)).tobytes()
        for way in ("", *graph.SPOILS)
    }
    assert len(set(pictures.values())) == len(pictures)


@pytest.mark.parametrize("way", graph.SPOILS)
def test_words_on_a_spoiled_board_cannot_be_told_apart(way: str) -> None:
    """Two words differ on a readable board by many levels at many pixels, and hardly on a spoiled one."""
    scene = make_scene(0, mix="wide", pixels=(448, 448))
    one = Sign(graph.Place(0.5, 0.5, 0.14), "hotel", False, 0, 0.0)

    def gap(spoiled: str) -> float:
        drawn = [
            np.asarray(draw_scene(replace(scene, items=(replace(one, text=text, spoiled=spoiled),), look=CLEAN)), float)
            for text in ("hotel", "salsa")
        ]
        return float(np.abs(drawn[0] - drawn[1]).mean())

    assert gap(way) < 0.3 * gap("")

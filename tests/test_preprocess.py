"""Tiling against the released preprocessing: the grid of 576 sizes, and every byte of 56 tiles."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise import noise
from PIL import Image
from safetensors.numpy import load_file

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.images import open_image
from phantom_edge.processing.tiling import Tiling, choose_grid, split_tiles, to_pixel_values

GOLDEN = Path(__file__).parent / "golden" / "preprocess"
IMAGES = json.loads((GOLDEN / "preprocess.json").read_text())["images"]
GRIDS = json.loads((GOLDEN / "grid_table.json").read_text())

one_grey_level = 1 / 255 / min(Tiling().std)
"""One level of 8 bits after normalization, the tolerance of full tensors. The hashes allow none."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("tile_size", [448, 56])
def test_grid_of_every_golden_size(tile_size):
    table = GRIDS[str(tile_size)]
    assert len(table) == 576
    sizes = {size: tuple(map(int, size.split("x"))) for size in table}
    found = {size: list(choose_grid(*sizes[size], Tiling(tile_size))) for size in table}
    assert found == table


def test_a_tie_goes_to_the_larger_grid_only_for_a_large_picture():
    assert choose_grid(633, 633, Tiling()) == (1, 1)
    assert choose_grid(634, 634, Tiling()) == (2, 2)


@pytest.mark.parametrize("name", IMAGES)
def test_full_tensors_at_56_pixels(name):
    expected = load_file(GOLDEN / "tiles56.safetensors")[Path(name).stem]
    found = to_pixel_values(open_image(GOLDEN / name), Tiling(56))
    np.testing.assert_allclose(found, expected, rtol=0, atol=one_grey_level)


@pytest.mark.parametrize("tile_size", [448, 56])
@pytest.mark.parametrize("name", IMAGES)
def test_tiles_are_the_released_ones_byte_for_byte(name, tile_size):
    expected = IMAGES[name][str(tile_size)]
    image, tiling = open_image(GOLDEN / name), Tiling(tile_size)
    assert [sha256(tile.tobytes()) for tile in split_tiles(image, tiling)] == expected["tile_sha256_u8_hwc"]
    floats = to_pixel_values(image, tiling)
    assert floats.dtype == np.float32
    assert list(floats.shape) == expected["shape"]
    np.testing.assert_allclose(floats.reshape(len(floats), -1)[:, :4], expected["tile_first4"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(floats.mean((2, 3)), expected["tile_channel_mean"], rtol=0, atol=1e-4)
    assert sha256(floats.astype("<f4").tobytes()) == expected["sha256_all_f32le"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(1, 3), st.integers(0, 6), st.booleans(), st.integers(1, 40)
)
def test_any_picture_becomes_tiles(width, height, least, more, thumbnail, tile_size):
    tiling = Tiling(tile_size, least, least + more, thumbnail)
    cols, rows = choose_grid(width, height, tiling)
    assert least <= cols * rows <= least + more
    image = noise((width, height), 90)
    found = to_pixel_values(image, tiling)
    tiles = cols * rows + (thumbnail and cols * rows > 1)
    assert found.shape == (tiles, 3, tile_size, tile_size)
    assert np.isfinite(found).all()


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_no_other_grid_is_nearer(width, height):
    cols, rows = choose_grid(width, height, Tiling())
    grids = [(c, r) for c in range(1, 7) for r in range(1, 7) if c * r <= 6]
    assert abs(width / height - cols / rows) == min(abs(width / height - c / r) for c, r in grids)


def test_tiles_put_together_are_the_resized_picture():
    image = open_image(GOLDEN / "img3_640x480.png")
    *tiles, thumbnail = split_tiles(image, Tiling(56))
    rows = [np.concatenate([np.asarray(tile) for tile in tiles[row : row + 3]], axis=1) for row in (0, 3)]
    whole = image.resize((168, 480), Image.Resampling.BICUBIC).resize((168, 112), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.concatenate(rows), np.asarray(whole))
    assert thumbnail.size == (56, 56)


def test_extreme_shapes():
    for size, grid in (((20000, 3), (6, 1)), ((3, 20000), (1, 6)), ((1, 1), (1, 1))):
        image = Image.new("RGB", size, (255, 0, 51))
        found = to_pixel_values(image, Tiling())
        assert choose_grid(*size, Tiling()) == grid
        assert len(found) == grid[0] * grid[1] + (grid != (1, 1))
        expected = (np.array([1, 0, 0.2]) - Tiling().mean) / Tiling().std
        np.testing.assert_allclose(found, np.broadcast_to(expected.reshape(1, 3, 1, 1), found.shape), atol=1e-5)


def test_what_cannot_be_tiled():
    with pytest.raises(EdgeError, match="too tall"):
        to_pixel_values(Image.new("RGB", (1, 400_000)), Tiling())
    with pytest.raises(EdgeError, match="RGBA image cannot be tiled"):
        to_pixel_values(Image.new("RGBA", (4, 4)), Tiling())


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile_size": 0},
        {"min_tiles": 0},
        {"min_tiles": 7},
        {"max_tiles": 0},
        {"std": (0.2, 0.0, 0.2)},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, float("nan"), 0.5)},
    ],
)
def test_settings_that_cut_no_picture(wrong):
    with pytest.raises(EdgeError):
        Tiling(**wrong)

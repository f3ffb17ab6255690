"""Pictures of any shape in phantom-nano's training, and the gist of a picture, read off the CLS token."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.data.scenes.exhibit import ALL_KINDS, MATERIALS
from phantom_edge.data.scenes.graph import Card, Dial, Scene, Sign, Solid
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.data.scenes.unanswerable import KIND, UNKNOWN
from phantom_edge.models.sizes import SIZES
from phantom_edge.processing.tiling import choose_grid
from phantom_edge.train.nano.gist import GIST, OBJECTS, GistCollator, GistReader, gist_of, right_kinds
from phantom_edge.train.nano.model import new_model, new_processor
from phantom_edge.train.nano.scenes import Exhibits
from phantom_edge.train.trainer import read_targets

NANO = SIZES["nano"]


@pytest.fixture(scope="module")
def processor():
    return new_processor(NANO)


@pytest.mark.parametrize("mix", ["plain", "rich", "fine"])
def test_the_gist_names_what_a_thumbnail_shows(mix) -> None:
    for seed in range(60):
        scene = make_scene(seed, mix=mix)
        held = {name for name, value in zip(GIST, gist_of(scene).tolist(), strict=True) if value}
        large = [item for item in scene.items if not getattr(item, "small", False)]
        kinds = {
            ("price" if item.is_price else "sign") if isinstance(item, Sign) else type(item).__name__.lower()
            for item in large
        }
        assert held & set(OBJECTS) == kinds
        assert {f"shape {item.shape}" for item in large if isinstance(item, Solid)} <= held
    assert not gist_of(None).any()


def test_small_things_have_no_gist() -> None:
    small = [item for seed in range(40) for item in make_scene(seed, mix="fine").items if getattr(item, "small", False)]
    assert {type(item) for item in small} == {Sign, Card, Dial}
    look = make_scene(0).look
    assert not any(gist_of(Scene("any", (item,), look)).any() for item in small)


def test_materials_take_turns_and_questions_do_not_repeat() -> None:
    shown = Exhibits("validation", 7, len(MATERIALS) * 2, 2, MATERIALS, camera=0.5, rounds=2, with_rejected=True)
    kinds: set[str] = set()
    for index in range(len(shown)):
        group, material = shown[index], MATERIALS[index // 2]
        questions = [pair.question for pair in group.pairs]
        assert len(set(questions)) == len(questions) > 0
        assert len(group.gists) == len(group.images) == {"nothing": 0, "frames": 2}.get(material, 1)
        assert all(pair.rejected and pair.rejected != pair.chosen for pair in group.pairs)
        assert all((pair.chosen == UNKNOWN) == (pair.kind == KIND) for pair in group.pairs)
        if material in ("blank", "nothing"):
            assert not any(gist.any() for gist in group.gists)
        kinds |= {pair.kind for pair in group.pairs}
        again = shown[index]
        assert again.pairs == group.pairs and [p.tobytes() for p in again.images] == [p.tobytes() for p in group.images]
    assert kinds <= set(ALL_KINDS) and KIND in kinds


def test_the_gist_is_read_off_the_tile_that_shows_the_whole_picture(processor) -> None:
    """A picture's last tile, whatever its number of tiles; its gradient reaches the tower through that tile alone."""
    shown = Exhibits("train", 0, 3, 1, ("fine", "nothing", "plain"))
    groups = [shown[index] for index in range(3)]
    batch = GistCollator(processor, kinds=ALL_KINDS)(groups)
    columns, rows = choose_grid(*groups[0].images[0].size, processor.image_processor.tiling)
    assert batch["tiles_per_image"].tolist() == [columns * rows + 1, 1] and len(batch["gist"]) == 2
    reader = GistReader(new_model(NANO, 0))
    batch["pixel_values"].requires_grad_()
    with torch.enable_grad():
        read_targets(reader, batch)
        scores = reader.read(batch["tiles_per_image"])
        assert scores.shape == (2, len(GIST)) and scores.dtype == torch.float32
        scores[0].sum().backward()
    seen = batch["pixel_values"].grad.flatten(1).abs().sum(-1) > 0
    assert seen.nonzero().flatten().tolist() == [columns * rows]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=len(OBJECTS), max_size=len(OBJECTS)), min_size=1, max_size=4))
def test_right_kinds_of_object_are_counted(held) -> None:
    gist = torch.zeros(len(held), len(GIST))
    gist[:, : len(OBJECTS)] = torch.tensor(held, dtype=torch.float)
    assert right_kinds(gist - 0.5, gist).eq(1).all() and right_kinds(0.5 - gist, gist).eq(0).all()
    flipped = gist - 0.5
    flipped[:, 0] *= -1
    torch.testing.assert_close(right_kinds(flipped, gist), torch.full((len(held),), 1 - 1 / len(OBJECTS)))

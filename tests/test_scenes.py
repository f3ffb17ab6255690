"""Scenes: deterministic, split apart, and every answer true of the scene graph by a second, independent reading."""

import json
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from scene_truth import truth

from phantom_edge.data.scenes import graph
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.exhibit import Material
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Scene, Sign, Solid
from phantom_edge.data.scenes.handwriting import digit_images, samples_of
from phantom_edge.data.scenes.items import reach
from phantom_edge.data.scenes.questions import KINDS, Question, ask
from phantom_edge.data.scenes.sample import SPLITS, Mix, make_scene
from phantom_edge.data.scenes.write import write_scenes
from phantom_edge.data.triples import read_triples

DIGESTS: dict[Mix, tuple[str, str]] = {
    "plain": (
        "bb8702777f61b2b905bbc009f599deb321260d792e189235be431553362d0a8d",
        "457d156d0305cad9918f61390ecb78c4d4b90f87554fc7ba1c30ef0b6c3a3406",
    ),
    "rich": (
        "0427921056309e7370073e2b316f84aad88d35b4bec25f6d4e05538231ecc1fd",
        "2da8f19f04bc6104d81f075721e5acfb11ca14aa653adc17868125a9c03aac8b",
    ),
    "crowded": (
        "7bfc1a7ceed254b1a6f513f05ee486690237210ffdeef6119c1a4f1c26ab6f65",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
}
"""SHA-256 of pictures and of questions, written down when the scenes had only these mixes."""

seeds = st.integers(0, 10**9)
some = settings(max_examples=150, deadline=None)


@some
@given(seed=seeds, split=st.sampled_from(SPLITS), mix=st.sampled_from(("plain", "rich", "wide")))
def test_answers_are_true_and_near_misses_are_not(seed: int, split: str, mix: Mix) -> None:
    scene = make_scene(seed, split, mix)
    kinds = tuple(kind for kind in KINDS if mix != "wide" or kind != "describe")  # which has many forms there
    for question in ask(scene, kinds):
        right = truth(scene, question.text)
        assert question.answer == right, question
        assert question.rejected and right not in question.rejected, question
        assert len(set(question.rejected)) == len(question.rejected) <= 3


@some
@given(seed=seeds, mix=st.sampled_from(get_args(Mix)))
def test_items_stay_in_the_picture_and_apart(seed: int, mix: Mix) -> None:
    scene = make_scene(seed, mix=mix)
    items = [*scene.items, *(member for row in scene.rows for member in row.members)]
    boxes = [(item.place.x, item.place.y, *reach(item)) for item in items]
    for x, y, across, down in boxes:
        assert across <= x <= scene.width - across and down <= y <= scene.height - down
    for one, two in combinations(boxes, 2):
        assert abs(one[0] - two[0]) >= one[2] + two[2] - 1e-3 or abs(one[1] - two[1]) >= one[3] + two[3] - 1e-3


def test_mixes_hold_what_they_say() -> None:
    for seed in range(100):
        rich, crowded = make_scene(seed, mix="rich").items, make_scene(seed, mix="crowded").items
        assert {type(item) for item in rich} >= {Sign, Card, Arrow, Dial, Bars} and len(rich) <= 8
        assert len(crowded) == 9 and sum(isinstance(item, Solid) for item in crowded) == 3


def test_same_seed_same_picture_and_questions() -> None:
    one, two = make_scene(11), make_scene(11)
    assert one == two and ask(one) == ask(two)
    assert draw_scene(one).tobytes() == draw_scene(two).tobytes()
    assert make_scene(12) != one and make_scene(11, "test") != one


@pytest.mark.parametrize("mix", ["plain", "rich", "crowded"])
def test_square_scenes_stay_as_they_were(mix: Mix) -> None:
    """Trained models and stored answers depend on every pixel and word of them."""
    pictures, words = sha256(), sha256()
    for split in SPLITS:
        for seed in range(4):
            pictures.update(draw_scene(make_scene(seed, split, mix), 224).tobytes())
            if seed == 1:
                pictures.update(draw_scene(make_scene(seed, split, mix), 448).tobytes())
        for seed in range(60 if mix != "crowded" else 0):
            for number in range(3):
                for q in ask(make_scene(seed, split, mix), round=number):
                    words.update("\t".join((q.kind, q.text, q.answer, *q.rejected)).encode() + b"\n")
    assert (pictures.hexdigest(), words.hexdigest()) == DIGESTS[mix]


def test_a_choice_of_kinds_changes_no_question() -> None:
    scene = make_scene(4)
    everything = ask(scene)
    assert ask(scene, ("dial", "count")) == [q for q in everything if q.kind in ("dial", "count")]


def test_handwriting_of_the_splits_never_mixes() -> None:
    _, targets = digit_images()
    for digit in range(10):
        train, held_out = set(samples_of(digit, False)), set(samples_of(digit, True))
        assert not train & held_out and len(held_out) >= 25
        assert {int(targets[i]) for i in train | held_out} == {digit}
    used: dict[str, set[int]] = {split: set() for split in SPLITS}
    for split in SPLITS:
        for seed in range(600):
            for card in (item for item in make_scene(seed, split).items if isinstance(item, Card)):
                used[split] |= set(card.samples or ())
    assert used["train"] and used["test"] and not used["train"] & (used["test"] | used["validation"])


def test_a_handwritten_card_shows_its_digits() -> None:
    """The ink on the card belongs to samples of the digits that the answer names."""
    _, targets = digit_images()
    cards = [i for seed in range(200) for i in make_scene(seed).items if isinstance(i, Card) and i.samples]
    assert len(cards) > 10
    for card in cards:
        assert "".join(str(targets[sample]) for sample in card.samples or ()) == card.digits


def test_all_kinds_and_balanced_answers() -> None:
    questions: list[Question] = [q for seed in range(1500) for q in ask(make_scene(seed))]
    kinds = Counter(q.kind for q in questions)
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 250
    yes = Counter(q.answer for q in questions if q.kind == "existence")
    assert 0.45 < yes["yes"] / yes.total() < 0.55
    for kind, answers in (("dial", graph.DIAL_MARKS), ("colour", len(graph.COLOURS)), ("shape", len(graph.SHAPES))):
        assert len({q.answer for q in questions if q.kind == kind}) == answers


@pytest.mark.parametrize("size", [112, 224])
def test_every_item_leaves_a_mark(size: int) -> None:
    """Drawing a scene without one of its items changes pixels inside that item's place, so nothing is hidden."""
    for seed in range(25):
        scene = make_scene(seed)
        whole = draw_scene(scene, size)
        assert whole.size == (size, size) and whole.mode == "RGB"
        for item in scene.items:
            others = Scene(scene.key, tuple(i for i in scene.items if i is not item), scene.look)
            box = ImageChops.difference(whole, draw_scene(others, size)).convert("L").point(lambda v: 255 * (v > 8))
            changed = box.getbbox()
            assert changed is not None, (seed, item)
            x, y = item.place.x, item.place.y
            across, down = (extent + 0.02 for extent in reach(item))  # and a blurred edge
            assert (x - across) * size <= changed[0] and changed[2] <= (x + across) * size, (seed, item)
            assert (y - down) * size <= changed[1] and changed[3] <= (y + down) * size, (seed, item)


def test_needle_and_bars_are_where_the_graph_says() -> None:
    from phantom_edge.data.scenes.dials import on_dial

    for value, (x, y) in {0: (-1, 1), 5: (0, -1), 10: (1, 1)}.items():
        dx, dy = on_dial(0, 0, 1, value)
        assert (round(dx, 1), round(dy, 1)) == (round(x * 0.7071, 1) if x else 0, round(y * 0.7071, 1) if x else -1)


def test_written_folder(tmp_path: Path) -> None:
    kinds = write_scenes(tmp_path / "a", 70, split="test", first_seed=5, size=112, workers=2)
    write_scenes(tmp_path / "b", 70, split="test", first_seed=5, size=112, workers=1)
    triples = list(read_triples(tmp_path / "a" / "triples.jsonl"))
    assert (tmp_path / "a" / "triples.jsonl").read_bytes() == (tmp_path / "b" / "triples.jsonl").read_bytes()
    assert Counter(triple.kind for triple in triples) == kinds
    pictures = {triple.images[0] for triple in triples}
    assert len(pictures) == 70
    for name in sorted(pictures)[:5]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert Image.open(tmp_path / "a" / name).size == (112, 112)
    scene = make_scene(5, "test")
    assert triples[0].question == ask(scene)[0].text and triples[0].images == ("00000/00000005.png",)


def test_written_folder_of_every_mix(tmp_path: Path) -> None:
    """Mixes take turns; one picture, two, or none; processes change nothing; the settings are noted."""
    mixes: tuple[Material, ...] = ("wide", "fine", "blank", "nothing", "frames", "plain")
    settings = {"mixes": mixes, "camera": 0.4, "unanswerable": 1.0}
    kinds = write_scenes(tmp_path / "a", 12, first_seed=7, workers=1, **settings)  # type: ignore[arg-type]
    write_scenes(tmp_path / "b", 12, first_seed=7, workers=2, **settings)  # type: ignore[arg-type]
    triples = list(read_triples(tmp_path / "a" / "triples.jsonl"))
    assert (tmp_path / "a" / "triples.jsonl").read_bytes() == (tmp_path / "b" / "triples.jsonl").read_bytes()
    assert Counter(triple.kind for triple in triples) == kinds
    assert {len(triple.images) for triple in triples} == {0, 1, 2}
    for name in {name for triple in triples for name in triple.images}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        with Image.open(tmp_path / "a" / name) as picture:
            assert min(picture.size) >= 224 and max(picture.size) <= 1344
    about = json.loads((tmp_path / "a" / "scenes.json").read_text())
    assert about["size"] is None and about["mixes"] == list(mixes) and about["camera"] == 0.4

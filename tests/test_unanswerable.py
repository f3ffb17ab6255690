"""Questions without an answer: the picture never holds one, and no wording gives them away."""

import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.data.scenes import graph, photographs
from phantom_edge.data.scenes.exhibit import ALL_KINDS, BLANK_QUESTIONS, MATERIALS, Material, make_exhibit
from phantom_edge.data.scenes.graph import Arrow, Bars, Card, Dial, Scene, Sign
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import SPLITS, Mix, make_scene
from phantom_edge.data.scenes.unanswerable import KIND, UNKNOWN, unanswerable
from phantom_edge.foundation.errors import EdgeError

seeds = st.integers(0, 10**9)
some = settings(max_examples=100, deadline=None)

READ = {
    "sign say": (Sign, False),
    "price": (Sign, True),
    "card": (Card, None),
    "dial show": (Dial, None),
    "arrow point": (Arrow, None),
    "Which bar": (Bars, None),
}


def referents(scene: Scene, text: str) -> list[object]:
    """All that ``text`` could be about, so that it had an answer; by the words of the question alone."""
    members = [member for row in scene.rows for member in row.members]
    shapes = [*scene.solids, *members]
    if found := re.fullmatch(r"What colour is the (\w+)\?", text):
        return [s for s in shapes if s.shape == found[1]]
    if found := re.fullmatch(r"What shape is the (\w+) object\?", text):
        return [s for s in [*scene.items, *members] if getattr(s, "colour", None) == found[1]]
    if found := re.fullmatch(
        r"Is the (\w+) (\w+) .+ of the (\w+) (\w+)\?|Is the (\w+) (\w+) .+ the (\w+) (\w+)\?", text
    ):
        words = [word for word in found.groups() if word]
        there = {(s.colour, s.shape) for s in shapes}
        both = [(words[0], words[1]) in there, (words[2], words[3]) in there]
        return [True] if all(both) else []
    if found := re.fullmatch(r"Which shape is nearest to the (\w+) (\w+)\?", text):
        return [s for s in shapes if (s.colour, s.shape) == found.groups()]
    if found := re.fullmatch(r"Which shape is (\w+) from the \w+ in the row\?", text):
        return members[graph.ORDINALS.index(found[1]) :]
    for words, (kind, is_price) in READ.items():
        if words in text:
            return [
                item
                for item in scene.items
                if isinstance(item, kind)
                and not getattr(item, "spoiled", "")
                and (is_price is None or getattr(item, "is_price", None) == is_price)
            ]
    raise AssertionError(text)


@some
@given(seed=seeds, split=st.sampled_from(SPLITS), mix=st.sampled_from(("plain", "rich", "wide", "fine")))
def test_no_unanswerable_question_has_an_answer_in_the_scene(seed: int, split: str, mix: Mix) -> None:
    scene = make_scene(seed, split, mix)
    asked = {question.text for question in ask(scene)}
    for question in unanswerable(scene):
        assert (question.kind, question.answer) == (KIND, UNKNOWN)
        assert referents(scene, question.text) == [] and question.text not in asked
        assert question.rejected and UNKNOWN not in question.rejected
        assert len(set(question.rejected)) == len(question.rejected) <= 3
    assert unanswerable(scene) == unanswerable(make_scene(seed, split, mix))


@some
@given(seed=seeds)
def test_guesses_are_answers_of_the_right_kind(seed: int) -> None:
    for question in unanswerable(make_scene(seed, mix="wide")):
        if question.text.startswith("What colour"):
            assert set(question.rejected) <= set(graph.COLOURS)
        if question.text.startswith("What does the sign"):
            assert set(question.rejected) <= set(graph.WORDS)
        if question.text.startswith("What does the dial"):
            assert all(0 <= int(guess) < graph.DIAL_MARKS for guess in question.rejected)


def wording(text: str) -> str:
    """The question with its colours, shapes and ordinals left out."""
    words = [*graph.COLOURS, *graph.SHAPES, *graph.ORDINALS]
    return re.sub(rf"\b(?:{'|'.join(words)})\b", "*", text)


@pytest.mark.parametrize("mix", ["plain", "wide"])
def test_no_wording_gives_away_whether_it_can_be_answered(mix: Mix) -> None:
    answered, unanswered = Counter[str](), Counter[str]()
    by_word = {True: Counter[str](), False: Counter[str]()}
    for seed in range(1200):
        scene = make_scene(seed, mix=mix)
        for question in (*ask(scene), *unanswerable(scene)):
            counted = unanswered if question.kind == KIND else answered
            counted[wording(question.text)] += 1
            if question.text.startswith("What colour"):
                by_word[question.kind == KIND][question.text] += 1
    never = {text for text in answered if re.match(r"Is there|How many|Describe|List|What is where|What is in", text)}
    assert set(unanswered) == set(answered) - never
    for text, number in unanswered.items():
        assert 0.3 < number / (number + answered[text]) < 0.6, text
    for text, number in by_word[True].items():  # with the shape in it
        assert 0.3 < number / (number + by_word[False][text]) < 0.65, text


@some
@given(seed=seeds, material=st.sampled_from(("blank", "nothing")), split=st.sampled_from(SPLITS))
def test_without_a_scene_there_is_nothing_to_read(seed: int, material: Material, split: str) -> None:
    exhibit = make_exhibit(seed, split, material, pixels=(224, 224) if material == "blank" else None)
    assert len(exhibit.pictures) == (material == "blank") and len(exhibit.questions) == BLANK_QUESTIONS
    for question in exhibit.questions:
        if material == "blank" and question.text.startswith("Is there"):
            assert (question.answer, question.rejected) == ("no", ("yes",))
        elif material == "blank" and question.text.startswith("How many"):
            assert question.answer == "0" and "in the row" not in question.text
        elif material == "blank" and question.kind == "describe":
            assert "half of the picture" in question.text and question.answer == "nothing"
            assert question.rejected and "nothing" not in question.rejected
        else:
            assert (question.kind, question.answer) == (KIND, UNKNOWN) and UNKNOWN not in question.rejected


def test_every_kind_occurs_in_every_split() -> None:
    for split in SPLITS:
        found: Counter[str] = Counter()
        for material in MATERIALS:
            if material == "crowded":
                continue
            for seed in range(25):
                found.update(question.kind for question in make_exhibit(seed, split, material).questions)
        assert set(found) == set(ALL_KINDS)


def test_exhibits_are_the_same_each_time_and_others_in_other_splits() -> None:
    for material in MATERIALS:
        one, two = (make_exhibit(5, "validation", material, camera=0.5) for _ in range(2))
        assert one.questions == two.questions
        assert [p.tobytes() for p in one.pictures] == [p.tobytes() for p in two.pictures]
        other = make_exhibit(5, "test", material, camera=0.5)
        assert other.questions != one.questions or other.pictures != one.pictures


def test_photographs_of_the_splits_differ() -> None:
    assert not set(photographs.TRAIN) & set(photographs.HELD_OUT)
    assert {*photographs.TRAIN, *photographs.HELD_OUT} == set(photographs.PHOTOGRAPHS)
    for name in photographs.PHOTOGRAPHS:
        picture = photographs.open_photograph(name)
        assert picture.mode == "RGB" and min(picture.size) >= 200
        assert np.asarray(picture, float).std() > 15  # none is blank


def test_a_package_without_its_photograph_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    fonts = Path(matplotlib.get_data_path()) / "matplotlibrc"
    shutil.copy(fonts, tmp_path)
    photographs.open_photograph.cache_clear()
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    monkeypatch.setattr("matplotlib.cbook._get_data_path", lambda *parts: tmp_path.joinpath(*parts))
    with pytest.raises(EdgeError, match=r"grace_hopper.jpg is not among"):
        photographs.open_photograph("grace_hopper.jpg")


@pytest.mark.parametrize(
    ("pixels", "material", "problem"),
    [
        ((300, 224), "plain", "a plain scene is square"),
        ((200, 300), "wide", "cannot have 200x300"),
        ((300, 2000), "blank", "cannot have 300x2000"),
    ],
)
def test_impossible_sizes_are_refused(pixels: tuple[int, int], material: Material, problem: str) -> None:
    with pytest.raises(EdgeError, match=problem):
        make_exhibit(0, "train", material, pixels=pixels)

"""Sequences: nothing jumps, overlaps or leaves the picture, and what changed is what the questions say."""

import re
from collections import Counter
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from scene_truth import truth

from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.exhibit import FRAMES, make_exhibit
from phantom_edge.data.scenes.frames import KIND, MOVED, SPEED, Clip, ask_about_change, frames
from phantom_edge.data.scenes.graph import Solid
from phantom_edge.data.scenes.items import reach
from phantom_edge.data.scenes.sample import SPLITS
from phantom_edge.data.scenes.unanswerable import KIND as UNKNOWN_KIND

seeds = st.integers(0, 10**9)
some = settings(max_examples=120, deadline=None)


@some
@given(seed=seeds, split=st.sampled_from(SPLITS))
def test_items_keep_apart_and_go_step_by_step(seed: int, split: str) -> None:
    clip = frames(seed, FRAMES, split)
    assert clip == frames(seed, FRAMES, split) and {len(track) for track in clip.tracks} == {FRAMES}
    for number in range(FRAMES):
        scene = clip.scene(number)
        boxes = [(item.place.x, item.place.y, *reach(item)) for item in scene.items]
        for x, y, across, down in boxes:
            assert across - 1e-4 <= x <= scene.width - across + 1e-4
            assert down - 1e-4 <= y <= scene.height - down + 1e-4
        for one, two in combinations(boxes, 2):
            assert abs(one[0] - two[0]) >= one[2] + two[2] - 1e-3 or abs(one[1] - two[1]) >= one[3] + two[3] - 1e-3
    for track in clip.tracks:
        for before, after in pairwise(track):
            if before and after:
                step = abs(after.place.x - before.place.x) + abs(after.place.y - before.place.y)
                assert step <= SPEED[1] + 1e-4


def test_frames_differ_in_their_items_and_noise_alone() -> None:
    clip = next(clip for seed in range(50) if (clip := frames(seed, 2, pixels=(224, 224))).tracks and still(clip))
    one, two = (draw_scene(clip.scene(number)) for number in range(2))
    assert one.tobytes() == draw_scene(clip.scene(0)).tobytes()
    differences = [abs(a - b) for a, b in zip(one.convert("L").tobytes(), two.convert("L").tobytes(), strict=True)]
    assert any(differences) and max(differences) < 70  # noise


def still(clip: Clip) -> bool:
    return all(track[0] == track[1] for track in clip.tracks) and clip.empty.look.noise > 1


@some
@given(seed=seeds, first=st.integers(0, FRAMES - 1), second=st.integers(0, FRAMES - 1), number=st.integers(0, 2))
def test_answers_about_changes_are_true(seed: int, first: int, second: int, number: int) -> None:
    clip = frames(seed, FRAMES)
    pairs = [(track[first], track[second]) for track in clip.tracks]
    names = {item.name for pair in pairs for item in pair if item}
    for question in ask_about_change(clip, first, second, number):
        assert question.rejected and question.answer not in question.rejected
        if question.kind == UNKNOWN_KIND:
            found = re.fullmatch(r"Which way did the (.+) move\?", question.text)
            assert found and found[1] not in names
            continue
        assert question.kind == KIND
        if question.text in ("What vanished?", "What appeared?"):
            at = question.text == "What appeared?"
            gone = [pair[at] for pair in pairs if pair[at] and not pair[not at]]
            assert [f"the {item.name}" for item in gone if item] == ([question.answer] if gone else [])
            assert gone or question.answer == "nothing"
        elif found := re.fullmatch(r"Which way did the (.+) move\?", question.text):
            ((one, two),) = [(a, b) for a, b in pairs if a and b and found[1] in (a.name, b.name)]
            across, down = two.place.x - one.place.x, two.place.y - one.place.y
            if question.answer == "nowhere":
                assert abs(across) + abs(down) < 0.01
            else:
                signed = {"left": -across, "right": across, "up": -down, "down": down}
                assert signed[question.answer] >= MOVED and max(signed, key=lambda way: signed[way]) == question.answer
        else:
            found = re.fullmatch(r"Which colour does the (\w+) turn\?", question.text)
            assert found, question.text
            ((one, two),) = [
                (a, b) for a, b in pairs if isinstance(a, Solid) and isinstance(b, Solid) and a.shape == found[1]
            ]
            assert question.answer == (two.colour if two.colour != one.colour else "it stays")


def test_everything_happens() -> None:
    answers: Counter[str] = Counter()
    for seed in range(400):
        for question in ask_about_change(frames(seed, FRAMES), 0, FRAMES - 1):
            answers[re.sub(r"the [\w ]+? (?=move|turn)|the .+", "* ", f"{question.text} {question.answer}")] += 1
    ways = [answers[f"Which way did * move? {way}"] for way in ("left", "right", "up", "down", "nowhere")]
    assert min(ways) > 10 and max(ways) < 0.6 * sum(ways)
    for what in ("What vanished?", "What appeared?"):
        assert answers[f"{what} * "] > 50 and answers[f"{what} nothing"] > 50


@some
@given(seed=seeds, split=st.sampled_from(SPLITS))
def test_questions_about_one_of_two_pictures_are_true_of_it(seed: int, split: str) -> None:
    exhibit = make_exhibit(seed, split, "frames", pixels=(224, 224))
    assert len(exhibit.pictures) == len(exhibit.scenes) == 2
    for question in exhibit.questions:
        if found := re.fullmatch(r"In the (first|second) picture, (.)(.+)", question.text):
            scene = exhibit.scenes[found[1] == "second"]
            text = found[2].upper() + found[3]
            if "half of the picture" in text or "where in the picture" in text:
                continue
            assert truth(scene, text) == question.answer and question.answer not in question.rejected

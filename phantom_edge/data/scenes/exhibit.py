"""From a seed to pictures with questions: the one path for training, measuring and writing."""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from PIL import Image

from phantom_edge.data.scenes.blank import draw_blank
from phantom_edge.data.scenes.camera import photograph
from phantom_edge.data.scenes.closeup import MORE_KINDS
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.frames import KIND as CHANGE
from phantom_edge.data.scenes.frames import ask_about_change, frames
from phantom_edge.data.scenes.graph import Scene
from phantom_edge.data.scenes.layouts import check_fine
from phantom_edge.data.scenes.misses import Question
from phantom_edge.data.scenes.questions import KINDS, ask
from phantom_edge.data.scenes.sample import SPLITS, Mix, make_scene
from phantom_edge.data.scenes.shapes import LONGEST, SHORTEST, draw_pixels
from phantom_edge.data.scenes.unanswerable import KIND as UNKNOWN_KIND
from phantom_edge.data.scenes.unanswerable import unanswerable, unknown
from phantom_edge.foundation.errors import EdgeError

Material = Literal[Mix, "blank", "nothing", "frames"]
"""A mix of scenes; ``blank``, pictures without any item, photographs among them; ``nothing``, no picture at all; or
``frames``, two pictures of a sequence."""
MATERIALS: tuple[Material, ...] = get_args(Material)
SQUARE: tuple[Material, ...] = ("plain", "rich", "crowded")
"""Mixes of square scenes."""
SIDE = 224
"""Side of a square scene unless another is asked for, pixels."""
UNANSWERABLE_SHARE = 0.5
"""Share of kinds that mixes of any shape ask a question of that the picture cannot answer: one such to two others."""
FINE_CAMERA, FINE_SCALE = 0.5, 1.5
"""Greatest strength of a camera for ``fine`` scenes, and its pixels to one of the scene along each axis.

A harder or coarser camera would not resolve the small letters. Its photographs have at most LONGEST pixels a side."""
BLANK_QUESTIONS = 4
FRAMES = 10
"""Frames of a sequence, two of which are shown."""
ALL_KINDS = (*KINDS, *MORE_KINDS, CHANGE, UNKNOWN_KIND)
"""Kinds of questions of all materials: those of square scenes first, in their order."""
ASKED_ELSEWHERE: tuple[Mix, ...] = ("plain", "wide", "fine")
"""Mixes whose questions are asked where there is no scene."""
SAFE_ON_PHOTOGRAPHS = ("relation", "text", "digits", "dial", "bars", "small", "far", "row", "describe")
"""A photograph may hold something that passes for a shape of some colour: those are not asked for."""


@dataclass(frozen=True)
class Exhibit:
    """Pictures, one or several or none, with questions about them. ``scenes`` are those drawn, one a picture."""

    pictures: tuple[Image.Image, ...]
    questions: tuple[Question, ...]
    scenes: tuple[Scene, ...] = ()


def make_exhibit(
    seed: int,
    split: str = "train",
    material: Material = "plain",
    *,
    pixels: tuple[int, int] | None = None,
    camera: float | None = None,
    share: float | None = None,
    round: int = 0,
) -> Exhibit:
    """Returns the exhibit of ``seed`` in ``split``; same arguments, same pixels and questions.

    ``pixels`` are width and height, drawn by the seed unless given (square mixes: 224 x 224). ``camera`` is the
    greatest strength of a :func:`photograph`, drawn evenly from 0; None for none. ``share`` of the kinds ask a question
    that the scene cannot answer: by default half for mixes of any shape, none for square ones.
    Raises EdgeError for ``pixels`` that the material cannot have.
    """
    assert split in SPLITS and material in MATERIALS, (split, material)
    check_pixels(pixels, material)
    if material == "nothing":
        return Exhibit((), _without_a_scene(Random(f"{split}/{seed}/nothing/{round}"), split, material))
    if material == "blank":
        key = f"{split}/{seed}/blank"
        picture, way = draw_blank(key, pixels or draw_pixels(Random(key)), held_out=split != "train")
        questions = _without_a_scene(Random(f"{key}/{round}"), split, way)
        return Exhibit((_seen(picture, key, camera),), questions)
    if material == "frames":
        return _two_frames(seed, split, pixels, camera, round)
    is_square = material in SQUARE
    scene = make_scene(seed, split, material, None if is_square else pixels)
    picture = draw_scene(scene, pixels[0] if pixels else SIDE)
    is_fine = material == "fine"
    most = min(camera, FINE_CAMERA) if is_fine and camera is not None else camera
    share = (0.0 if is_square else UNANSWERABLE_SHARE) if share is None else share
    questions = (*ask(scene, round=round), *(unanswerable(scene, round, share) if share else ()))
    return Exhibit((_seen(picture, scene.key, most, FINE_SCALE if is_fine else 1.0),), questions, (scene,))


def _two_frames(seed: int, split: str, pixels: tuple[int, int] | None, camera: float | None, round: int) -> Exhibit:
    """Returns the first frame of a sequence and a later one, with questions about both, and about each alone."""
    clip = frames(seed, FRAMES, split, pixels)
    random = Random(f"{split}/{seed}/frames/{round}")
    later = random.randrange(2, FRAMES)
    scenes = clip.scene(0), clip.scene(later)
    questions = ask_about_change(clip, 0, later, round)
    for scene, which in zip(scenes, ("first", "second"), strict=True):
        alone = [q for q in ask(scene, round=round * FRAMES + scene.frame) if q.text[0] in "WHI"]
        for q in random.sample(alone, k=min(2, len(alone))):
            questions.append(replace(q, text=f"In the {which} picture, {q.text[0].lower()}{q.text[1:]}"))
    pictures = tuple(_seen(draw_scene(scene), f"{scene.key}/{scene.frame}", camera) for scene in scenes)
    return Exhibit(pictures, tuple(questions), scenes)


def check_pixels(pixels: tuple[int, int] | None, material: Material) -> None:
    """Raises EdgeError for a width and height that ``material`` cannot have."""
    if pixels is None:
        return
    width, height = pixels
    if material in SQUARE:
        if width != height:
            raise EdgeError(
                f"a {material} scene is square, not {width}x{height}", f"give --size {width}, or --mix wide"
            )
    elif min(pixels) < SHORTEST or max(pixels) > LONGEST:
        raise EdgeError(
            f"a {material} picture cannot have {width}x{height} pixels",
            f"give a width and a height from {SHORTEST} to {LONGEST}",
        )
    elif material == "fine":
        check_fine(pixels)


def _seen(picture: Image.Image, key: str, camera: float | None, scale: float = 1.0) -> Image.Image:
    """Returns the picture itself, or as a camera sees it, ``scale`` times as large as long as LONGEST allows."""
    if camera is None:
        return picture
    scale = min(scale, LONGEST / max(picture.size)) if scale > 1 else 1.0
    size = round(picture.width * scale), round(picture.height * scale)
    return photograph(picture, key, round(Random(f"strength {key}").uniform(0, camera), 3), size)


def _without_a_scene(random: Random, split: str, way: str) -> tuple[Question, ...]:
    """Returns questions of other scenes, asked about a picture without items or, for ``nothing``, without a picture."""
    asked: dict[str, Question] = {}
    while len(asked) < BLANK_QUESTIONS:
        donor = make_scene(random.randrange(10**9), split, random.choice(ASKED_ELSEWHERE))
        found = ask(donor)
        if not found:
            continue
        question = random.choice(found)
        if way == "photograph" and question.kind not in SAFE_ON_PHOTOGRAPHS:
            continue
        if way != "nothing" and question.kind == "existence":
            asked[question.text] = Question("existence", question.text, "no", ("yes",))
        elif way != "nothing" and question.kind == "count":
            asked[question.text] = Question("count", question.text, "0", ("1", "2", "3"))
        elif way not in ("nothing", "photograph") and "half of the picture" in question.text:
            wrong = tuple(guess for guess in (question.answer, *question.rejected) if guess != "nothing")
            asked[question.text] = Question("describe", question.text, "nothing", wrong[:3])
        elif way == "nothing" or "are in the row" not in question.text:
            asked[question.text] = unknown(question)
    return tuple(asked.values())

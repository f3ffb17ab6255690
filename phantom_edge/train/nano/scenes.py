"""Scenes as training data, drawn on demand: nothing is stored, and no two epochs are alike."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import Dataset

from phantom_edge.data.scenes.closeup import MORE_KINDS
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.exhibit import SQUARE, Material, make_exhibit
from phantom_edge.data.scenes.graph import Scene
from phantom_edge.data.scenes.layouts import dense_scene
from phantom_edge.data.scenes.questions import KINDS, Question, ask
from phantom_edge.data.scenes.sample import Mix, make_scene
from phantom_edge.data.scenes.unanswerable import unanswerable
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.processing.tiling import choose_grid
from phantom_edge.train.collate import Group, Pair
from phantom_edge.train.nano.facts import Window, facts_at, whole, windows_of
from phantom_edge.train.nano.gist import SceneGroup, gist_of
from phantom_edge.train.nano.names import names_at

FAR = 1_000_000_000
"""Distance of seeds that no stage comes across."""

TileMaterial = Material | Literal["dense"]
"""Materials, and scenes that only vision is trained on."""

SCENE_KINDS = tuple(KINDS)
"""The kinds of questions about square scenes, as PhantomTrainer and Collator number them."""


@dataclass(frozen=True)
class SceneRange:
    """Scenes of a split from ``first`` on, with their mixes in turn.

    Every ``large_every``-th is twice as large, so that it has tiles.
    """

    split: str
    first: int
    count: int
    size: int = 224
    large_every: int = 0
    mixes: tuple[Mix, ...] = ("plain",)

    def size_of(self, index: int) -> int:
        """Returns the picture's side, pixels."""
        return 2 * self.size if self.large_every and index % self.large_every == 0 else self.size

    def scene(self, index: int) -> Scene:
        """Returns the scene at ``index``."""
        return make_scene(self.first + index, self.split, self.mixes[index % len(self.mixes)])


class SceneFacts(Dataset[dict[str, Tensor]]):
    """Tiles of scenes and the facts at their image tokens, for :class:`FactReader`; ``named`` for NameReader."""

    def __init__(self, scenes: SceneRange, processor: PhantomProcessor, named: bool = False) -> None:
        self.scenes = scenes
        self.processor = processor
        self.named = named
        self.side = round(processor.tokens_per_tile**0.5)

    def __len__(self) -> int:
        return self.scenes.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        scene = self.scenes.scene(index)
        picture = draw_scene(scene, self.scenes.size)
        pixels = torch.as_tensor(self.processor.image_processor(picture)["pixel_values"])
        names = {"names": names_at(scene, self.side)} if self.named else {}
        return {"pixel_values": pixels[0], "facts": facts_at(scene, self.side), **names}


class TileFacts(Dataset[dict[str, Tensor]]):
    """Tiles of pictures of any shape, and facts and names at their image tokens, for NameReader.

    Of a dense scene all tiles are shown: its thumbnail, which resolves nothing of it, is not. Of another picture its
    thumbnail and fewer than ``tiles`` others; of square scenes, which are their only tile, ``tiles`` different ones.
    """

    def __init__(
        self, first: int, count: int, materials: tuple[TileMaterial, ...], processor: PhantomProcessor, tiles: int = 4
    ) -> None:
        self.first, self.count, self.materials, self.tiles = first, count, materials, tiles
        self.processor = processor
        self.side = round(processor.tokens_per_tile**0.5)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        seed, material = self.first + index, self.materials[index % len(self.materials)]
        shown = self._square(seed, material) if material in SQUARE else self._some(seed, material)
        scenes, windows, pixels = zip(*shown, strict=True)
        seen = list(zip(scenes, windows, strict=True))
        return {
            "pixel_values": torch.stack(pixels),
            "facts": torch.stack([facts_at(scene, self.side, window) for scene, window in seen]),
            "names": torch.stack([names_at(scene, self.side, window) for scene, window in seen]),
        }

    def _square(self, seed: int, material: Material) -> Iterator[tuple[Scene, Window, Tensor]]:
        for number in range(self.tiles):
            scene, picture = _pictured(seed + number * FAR, material)
            yield scene, whole(scene), self._pixels(picture)[0]

    def _some(self, seed: int, material: TileMaterial) -> Iterator[tuple[Scene, Window, Tensor]]:
        scene, picture = _pictured(seed, material)
        windows = windows_of(scene, *choose_grid(*picture.size, self.processor.image_processor.tiling))
        pixels, others = self._pixels(picture), range(len(windows) - 1)
        if material == "dense":
            shown = list(others)
        else:
            shown = [*Random(f"tiles {seed}").sample(others, k=min(len(others), self.tiles - 1)), len(others)]
        for at in shown:
            yield scene, windows[at], pixels[at]

    def _pixels(self, picture: Image) -> Tensor:
        return torch.as_tensor(self.processor.image_processor(picture)["pixel_values"])


def _pictured(seed: int, material: TileMaterial) -> tuple[Scene, Image]:
    if material == "dense":
        scene = dense_scene(f"train/{seed}/dense")
        return scene, draw_scene(scene)
    exhibit = make_exhibit(seed, "train", material)
    (scene,), (picture,) = exhibit.scenes, exhibit.pictures
    return scene, picture


def tiles_together(pictures: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Returns the tiles of several pictures as one batch."""
    return {name: torch.cat([picture[name] for picture in pictures]) for name in pictures[0]}


def pairs_of(questions: Iterable[Question], turn: int, with_rejected: bool) -> tuple[Pair, ...]:
    """Returns questions with their answers and, where asked for, one of the near misses, another one each ``turn``."""
    return tuple(
        Pair(q.text, q.answer, q.rejected[(turn + place) % len(q.rejected)] if with_rejected else None, q.kind)
        for place, q in enumerate(questions)
    )


class SceneGroups(Dataset[Group]):
    """Scenes with their questions, for :class:`Collator`.

    ``rounds`` of questions a scene, without repeats, then ``relations`` rounds about relations alone, which take the
    most practice; ``with_rejected`` pairs each answer with one of its near misses,
    a different one for each scene and question.
    """

    def __init__(self, scenes: SceneRange, rounds: int = 1, with_rejected: bool = False, relations: int = 0) -> None:
        self.scenes = scenes
        self.rounds = rounds
        self.relations = relations
        self.with_rejected = with_rejected

    def __len__(self) -> int:
        return self.scenes.count

    def __getitem__(self, index: int) -> Group:
        scene = self.scenes.scene(index)
        asked: dict[str, Question] = {}
        for number in range(self.rounds + self.relations):
            for question in ask(scene, round=number):
                if number < self.rounds or question.kind == "relation":
                    asked[question.text] = question
        pairs = pairs_of(asked.values(), self.scenes.first + index, self.with_rejected)
        return Group((draw_scene(scene, self.scenes.size_of(index)),), pairs)


PRACTISED = ("relation", *MORE_KINDS)
"""Kinds of questions that take the most practice: where things are, and small things."""


@dataclass(frozen=True)
class Exhibits(Dataset[Group]):
    """Pictures of any shape with their questions, for :class:`GistCollator`, those that nobody can answer among them.

    ``materials`` take turns, each for ``run`` pictures. A ``camera`` sees that share of the pictures, up to its
    greatest strength. ``rounds`` of questions a picture, without repeats, then ``closeups`` of the kinds
    that are PRACTISED; ``unanswerable`` of the kinds ask one that the picture does not answer.
    """

    split: str
    first: int
    count: int
    run: int
    materials: tuple[Material, ...]
    camera: float = 0.0
    rounds: int = 1
    closeups: int = 0
    unanswerable: float = 0.5
    with_rejected: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Group:
        seed, material = self.first + index, self.materials[index // self.run % len(self.materials)]
        seen = 1.0 if Random(f"camera {self.split}/{seed}").random() < self.camera else None
        share = None if material in ("blank", "nothing") else self.unanswerable
        exhibit = make_exhibit(seed, self.split, material, camera=seen, share=share)
        asked = {question.text: question for question in exhibit.questions}
        for number in range(1, self.rounds if len(exhibit.scenes) == 1 else 1):
            more = [*ask(exhibit.scenes[0], round=number), *unanswerable(exhibit.scenes[0], number, self.unanswerable)]
            asked |= {question.text: question for question in more}
        for number in range(self.rounds, self.rounds + self.closeups) if len(exhibit.scenes) == 1 else ():
            more = [question for question in ask(exhibit.scenes[0], round=number) if question.kind in PRACTISED]
            asked |= {question.text: question for question in more}
        pairs = pairs_of(asked.values(), seed, self.with_rejected)
        scenes = exhibit.scenes or (None,) * len(exhibit.pictures)
        return SceneGroup(exhibit.pictures, pairs, tuple(gist_of(scene) for scene in scenes))

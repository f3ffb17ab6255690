"""Scenes as training data, drawn on demand: nothing is stored, and no two epochs are alike."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.graph import Scene
from phantom_edge.data.scenes.questions import KINDS, Question, ask
from phantom_edge.data.scenes.sample import Mix, make_scene
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.collate import Group, Pair
from phantom_edge.train.nano.facts import facts_at
from phantom_edge.train.nano.names import names_at

SCENE_KINDS = tuple(KINDS)
"""The kinds of questions, as PhantomTrainer and Collator number them."""


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
        pairs = tuple(
            self._pair(question, self.scenes.first + index + place) for place, question in enumerate(asked.values())
        )
        return Group((draw_scene(scene, self.scenes.size_of(index)),), pairs)

    def _pair(self, question: Question, turn: int) -> Pair:
        rejected = question.rejected[turn % len(question.rejected)] if self.with_rejected else None
        return Pair(question.text, question.answer, rejected, question.kind)

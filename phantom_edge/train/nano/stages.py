"""phantom-nano from a seed to a checkpoint: look, name, read, the paper's two steps, then pictures of any shape.

1. *look*: vision tower and projector learn the facts of scenes (as InternViT's pretraining for the released models).
2. *name*: they learn to express them in the language model's words, and positions (as alignment does there).
3. *read*: the language model learns to answer by plain fine-tuning (as its pretraining does there). Tower and projector
   are frozen meanwhile: an untrained language model would spoil them.
4. *prefer*: the paper's step 1: projector, phantom maps and gates, with the PO objective, the rest frozen.
5. *finish*: the paper's step 2: everything, SFT.
6. *finer*: as look and name, on tiles of pictures of any shape, many of them full of small things: an ordinary picture
   has few, and ten times as many have to be seen as of the usual size before one is read. Between them crowded square
   scenes keep the usual size in mind.
7. *again*: as read, since the language model has to learn what tower and projector say now; on square scenes, whose one
   tile takes a fraction of the time.
8. *tiles*: as read, on pictures of any shape, with things that only tiles show, questions that nobody can answer, and a
   quarter of the pictures seen through a camera.
9. *camera*: everything, on the same with half of the pictures seen through a camera.

Each stage is a Trainer run with checkpoints of its own; a finished stage is not repeated.
"""

from dataclasses import dataclass

from phantom_edge.data.scenes.exhibit import Material
from phantom_edge.data.scenes.sample import Mix
from phantom_edge.train.nano.scenes import TileMaterial


@dataclass(frozen=True)
class Stage:
    """Settings of one stage.

    ``rounds`` of questions a scene, ``relations`` more about relations, ``closeups`` more about PRACTISED; every
    ``large_every``-th scene has tiles; the ``mixes`` of scenes take turns. With ``materials`` instead, which take turns
    by MICRO_BATCH, pictures have any shape; a ``camera`` sees a share of them, and reading their gist off the CLS token
    weighs ``gist`` of the loss. ``frozen`` names parts of the model that are not trained.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    objective: str = "sft"
    step: int = 2
    rounds: int = 1
    relations: int = 0
    closeups: int = 0
    large_every: int = 0
    mixes: tuple[Mix, ...] = ("plain",)
    materials: tuple[TileMaterial, ...] = ()
    camera: float = 0.0
    gist: float = 0.0
    frozen: tuple[str, ...] = ()
    warmup: int = 50
    final_share: float = 0.1


MICRO_BATCH = 8
"""Pictures of one material that are computed together: of equal material, rows are about equally long."""

TURNS: tuple[Material, ...] = (
    *("plain", "fine", "wide", "blank", "plain", "fine", "wide", "fine"),
    *("plain", "fine", "wide", "nothing", "plain", "fine", "frames", "blank"),
)
"""Kinds of pictures of the last stages, in turn."""

NANO_STAGES = (
    Stage("look", steps=4800, batch=32, learning_rate=2e-3, mixes=("crowded", "crowded", "crowded", "plain")),
    Stage("name", steps=700, batch=32, learning_rate=1e-3, mixes=("crowded", "plain")),
    Stage(
        "read", 1400, 32, 1.5e-3, rounds=2, relations=4, mixes=("plain", "rich"), frozen=("vision_tower", "projector")
    ),
    Stage("prefer", steps=40, batch=32, learning_rate=2e-4, objective="po", step=1, warmup=5),
    Stage(
        "finish",
        steps=120,
        batch=32,
        learning_rate=3e-4,
        rounds=2,
        relations=2,
        large_every=8,
        warmup=10,
        final_share=0.02,
    ),
    Stage(
        "finer",
        steps=9000,
        batch=8,
        learning_rate=1.2e-3,
        materials=("dense", "crowded", "wide", "dense", "crowded", "fine", "dense", "wide"),
        warmup=100,
    ),
    Stage(
        "again", 500, 32, 1.5e-3, rounds=2, relations=2, mixes=("plain", "rich"), frozen=("vision_tower", "projector")
    ),
    Stage(
        "tiles",
        steps=1000,
        batch=32,
        learning_rate=1.5e-3,
        rounds=2,
        closeups=4,
        materials=TURNS,
        camera=0.25,
        frozen=("vision_tower", "projector"),
        warmup=40,
    ),
    Stage(
        "camera",
        steps=900,
        batch=32,
        learning_rate=8e-4,
        rounds=2,
        closeups=2,
        materials=TURNS,
        camera=0.5,
        gist=1.0,
        warmup=10,
        final_share=0.02,
    ),
)
"""phantom-nano's recipe."""

SEED_STRIDE = 10_000_000
"""Scenes of different stages never meet: stage n begins at n times this seed."""


def first_seed(stages: tuple[Stage, ...], stage: Stage) -> int:
    """Returns the seed of the first scene of ``stage``."""
    return stages.index(stage) * SEED_STRIDE

"""phantom-nano from a seed to a checkpoint: look, name, read, the paper's two steps, then pictures of any shape.

1. *look*: vision tower and projector learn the facts of scenes (as InternViT's pretraining for the released models).
2. *name*: they learn to express them in the language model's words, and positions (as alignment does there).
3. *read*: the language model learns to answer by plain fine-tuning (as its pretraining does there). Tower and projector
   are frozen meanwhile: an untrained language model would spoil them.
4. *prefer*: the paper's step 1: projector, phantom maps and gates, with the PO objective, the rest frozen.
5. *finish*: the paper's step 2: everything, SFT.
6. *tiles*: everything, on pictures of any shape, with things that only tiles show and questions that nobody can answer.
7. *camera*: the same, half of the pictures seen through a camera (a quarter before), to the lowest learning rate.

Each stage is a Trainer run with checkpoints of its own; a finished stage is not repeated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes.exhibit import ALL_KINDS, Material
from phantom_edge.data.scenes.sample import Mix
from phantom_edge.models.sizes import Size
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.collate import Collator
from phantom_edge.train.nano.facts import FactReader
from phantom_edge.train.nano.gist import GistCollator, GistReader, GistTrainer
from phantom_edge.train.nano.model import NANO_ETA, new_model, new_processor
from phantom_edge.train.nano.names import NameReader
from phantom_edge.train.nano.scenes import SCENE_KINDS, Exhibits, SceneFacts, SceneGroups, SceneRange
from phantom_edge.train.optimizer import MuonAndAdamW
from phantom_edge.train.parts import freeze_for
from phantom_edge.train.runs import RunFolder, last_checkpoint
from phantom_edge.train.trainer import PhantomTrainer


@dataclass(frozen=True)
class Stage:
    """Settings of one stage.

    ``rounds`` of questions a scene, ``relations`` more about relations; every ``large_every``-th scene has tiles; the
    ``mixes`` of scenes take turns. With ``materials`` instead, which take turns by MICRO_BATCH, pictures have any
    shape; a ``camera`` sees a share of them, and reading their gist off the CLS token weighs ``gist`` of the loss.
    ``frozen`` names parts of the model that are not trained.
    """

    name: str
    steps: int
    batch: int
    learning_rate: float
    objective: str = "sft"
    step: int = 2
    rounds: int = 1
    relations: int = 0
    large_every: int = 0
    mixes: tuple[Mix, ...] = ("plain",)
    materials: tuple[Material, ...] = ()
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
        "tiles",
        steps=600,
        batch=32,
        learning_rate=1e-3,
        rounds=2,
        materials=TURNS,
        camera=0.25,
        gist=1.0,
        warmup=20,
        final_share=0.4,
    ),
    Stage(
        "camera",
        steps=300,
        batch=32,
        learning_rate=4e-4,
        rounds=2,
        materials=TURNS,
        camera=0.5,
        gist=1.0,
        warmup=0,
        final_share=0.02,
    ),
)
"""phantom-nano's recipe."""

SEED_STRIDE = 10_000_000
"""Scenes of different stages never meet: stage n begins at n times this seed."""

VALIDATION = 192
"""Scenes of the validation split that a stage is evaluated on."""


def first_seed(stages: tuple[Stage, ...], stage: Stage) -> int:
    """Returns the seed of the first scene of ``stage``."""
    return stages.index(stage) * SEED_STRIDE


def train_nano(
    size: Size,
    out: Path,
    *,
    stages: tuple[Stage, ...] = NANO_STAGES,
    seed: int = 0,
    eta: float = NANO_ETA,
    workers: int = 1,
    bf16: bool = True,
    validation: int = VALIDATION,
    callback: Callable[[str], TrainerCallback] | None = None,
    begin: Callable[[Stage], None] = lambda _: None,
) -> Path:
    """Train a model of ``size`` through ``stages`` in the folder ``out``; returns the finished checkpoint's folder.

    After a kill it resumes from the last checkpoint. Each stage leaves ``out/STAGE/model``.
    """
    torch.manual_seed(seed)
    processor = new_processor(size)
    before: Path | None = None
    for stage in stages:
        done = out / stage.name / "model"
        if not (done / "config.json").exists():
            begin(stage)
            model = new_model(size, seed, eta) if before is None else load_trained(before)
            run_stage(
                stage,
                model,
                processor,
                out / stage.name,
                first_scene=first_seed(stages, stage),
                seed=seed,
                workers=workers,
                bf16=bf16,
                validation=validation,
                callbacks=() if callback is None else (callback(stage.name),),
            )
            processor.save_pretrained(done)
            model.save_pretrained(done)
        before = done
    assert before is not None
    return before


def load_trained(folder: Path) -> PhantomForConditionalGeneration:
    """Returns a stage's model, to be trained on in float32."""
    return PhantomForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def run_stage(
    stage: Stage,
    model: PhantomForConditionalGeneration,
    processor: PhantomProcessor,
    out: Path,
    *,
    first_scene: int,
    seed: int = 0,
    workers: int = 1,
    bf16: bool = True,
    evaluate: bool = True,
    validation: int = VALIDATION,
    callbacks: tuple[TrainerCallback, ...] = (),
) -> None:
    """Train ``model`` in place through one stage, on training scenes from ``first_scene`` on."""
    looking = stage.name in ("look", "name")
    together = min(stage.batch, MICRO_BATCH) if stage.materials else stage.batch
    arguments = TrainingArguments(
        output_dir=str(out),
        seed=seed,
        max_steps=stage.steps,
        per_device_train_batch_size=together,
        gradient_accumulation_steps=stage.batch // together,
        per_device_eval_batch_size=together,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": stage.final_share},
        warmup_steps=stage.warmup,
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=not torch.accelerator.is_available(),  # without it Trainer refuses bf16 there
        logging_steps=20,
        save_steps=100,
        save_total_limit=1,
        eval_strategy="steps" if evaluate and not looking else "no",
        eval_steps=100,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )
    scenes = SceneRange(
        "train", first_scene, stage.steps * stage.batch, large_every=stage.large_every, mixes=stage.mixes
    )
    trainer: Trainer
    if looking:
        model.requires_grad_(False)
        for part in (model.model.vision_tower, model.model.projector):
            part.requires_grad_(True)
        named = stage.name == "name"
        reader = NameReader(model, processor.tokenizer) if named else FactReader(model)
        trainer = Trainer(
            model=reader,
            args=arguments,
            train_dataset=SceneFacts(scenes, processor, named),
            callbacks=list(callbacks),
            optimizers=(_optimizer(reader, stage), None),
        )
    elif stage.materials:
        gists = GistReader(model)
        shown = Exhibits("train", first_scene, stage.steps * stage.batch, MICRO_BATCH, stage.materials, stage.camera)
        trainer = GistTrainer(
            model=gists,
            args=arguments,
            data_collator=GistCollator(processor, kinds=ALL_KINDS),
            train_dataset=replace(shown, rounds=stage.rounds, with_rejected=stage.objective != "sft"),
            eval_dataset=replace(shown, split="validation", first=0, count=validation),
            objective=stage.objective,
            kinds=ALL_KINDS,
            weight=stage.gist,
            callbacks=list(callbacks),
            optimizers=(_optimizer(gists, stage), None),
        )
    else:
        freeze_for(model, stage.step)
        for name in stage.frozen:
            getattr(model.model, name).requires_grad_(False)
        trainer = PhantomTrainer(
            model=model,
            args=arguments,
            data_collator=Collator(processor, kinds=SCENE_KINDS),
            train_dataset=SceneGroups(scenes, stage.rounds, stage.objective != "sft", stage.relations),
            eval_dataset=SceneGroups(SceneRange("validation", 0, validation)),
            objective=stage.objective,
            kinds=SCENE_KINDS,
            callbacks=list(callbacks),
            optimizers=(_optimizer(model, stage), None),
        )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results go
    checkpoint = last_checkpoint(out)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def _optimizer(model: nn.Module, stage: Stage) -> MuonAndAdamW:
    return MuonAndAdamW(model, stage.learning_rate, weight_decay=0.02, betas=(0.9, 0.98))


class MetricsCallback(TrainerCallback):
    """Writes every log of a stage to the run's metrics, and reports its progress."""

    def __init__(self, stage: str, out: Path, advance: Callable[[str, int], None] = lambda _stage, _step: None) -> None:
        self.stage = stage
        self.run = RunFolder(out)
        self.advance = advance

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the step."""
        self.advance(self.stage, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Append a line: stage, step and logs."""
        if state.is_world_process_zero:
            self.run.log({"stage": self.stage, "step": state.global_step, **(logs or {})})

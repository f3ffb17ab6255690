"""Trains phantom-nano through its stages, each a run of Trainer with checkpoints of its own."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.data.scenes.exhibit import ALL_KINDS
from phantom_edge.models.sizes import Size
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.collate import Collator
from phantom_edge.train.nano.facts import FactReader
from phantom_edge.train.nano.gist import GistCollator, GistReader, GistTrainer
from phantom_edge.train.nano.model import NANO_ETA, new_model, new_processor
from phantom_edge.train.nano.names import NameReader
from phantom_edge.train.nano.scenes import (
    SCENE_KINDS,
    Exhibits,
    SceneFacts,
    SceneGroups,
    SceneRange,
    TileFacts,
    tiles_together,
)
from phantom_edge.train.nano.stages import MICRO_BATCH, NANO_STAGES, Stage, first_seed
from phantom_edge.train.optimizer import MuonAndAdamW
from phantom_edge.train.parts import freeze_for
from phantom_edge.train.runs import RunFolder, last_checkpoint
from phantom_edge.train.trainer import PhantomTrainer

VALIDATION = 192
"""Scenes of the validation split that a stage is evaluated on."""


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
    torch.manual_seed(seed)  # heads that read facts are drawn alike, whatever came before
    looking = stage.name in ("look", "name", "finer")
    arguments = _arguments(stage, out, seed=seed, workers=workers, bf16=bf16, evaluate=evaluate and not looking)
    scenes = SceneRange(
        "train", first_scene, stage.steps * stage.batch, large_every=stage.large_every, mixes=stage.mixes
    )
    trainer: Trainer
    if looking:
        model.requires_grad_(False)
        for part in (model.model.vision_tower, model.model.projector):
            part.requires_grad_(True)
        named = stage.name != "look"
        reader = NameReader(model, processor.tokenizer) if named else FactReader(model)
        tiles = TileFacts(first_scene, stage.steps * stage.batch, stage.materials, processor)
        trainer = Trainer(
            model=reader,
            args=arguments,
            data_collator=tiles_together if stage.materials else None,
            train_dataset=tiles if stage.materials else SceneFacts(scenes, processor, named),
            callbacks=list(callbacks),
            optimizers=(_optimizer(reader, stage), None),
        )
    elif stage.materials:
        for name in stage.frozen:
            getattr(model.model, name).requires_grad_(False)
        gists = GistReader(model)
        whole = tuple(one for one in stage.materials if one != "dense")
        shown = Exhibits("train", first_scene, stage.steps * stage.batch, MICRO_BATCH, whole, stage.camera)
        trainer = GistTrainer(
            model=gists,
            args=arguments,
            data_collator=GistCollator(processor, kinds=ALL_KINDS),
            train_dataset=replace(
                shown, rounds=stage.rounds, closeups=stage.closeups, with_rejected=stage.objective != "sft"
            ),
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


def _arguments(stage: Stage, out: Path, *, seed: int, workers: int, bf16: bool, evaluate: bool) -> TrainingArguments:
    together = min(stage.batch, MICRO_BATCH) if stage.materials else stage.batch
    return TrainingArguments(
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
        eval_strategy="steps" if evaluate else "no",
        eval_steps=250,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )


def _optimizer(model: nn.Module, stage: Stage) -> MuonAndAdamW:
    return MuonAndAdamW(model, stage.learning_rate, weight_decay=0.02, betas=(0.9, 0.98))


class MetricsCallback(TrainerCallback):
    """Writes every log of a stage to the run's metrics, and reports its progress."""

    def __init__(self, stage: str, out: Path, advance: Callable[[str, int], None] = lambda _stage, _step: None) -> None:
        self.stage = stage
        self.run = RunFolder(out)
        self.advance = advance
        self.last = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the step."""
        self.advance(self.stage, state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Append a line: stage, step, seconds since the line before, and logs."""
        if state.is_world_process_zero:
            now = time.perf_counter()
            line = {"stage": self.stage, "step": state.global_step, "seconds": round(now - self.last, 1)}
            self.run.log({**line, **(logs or {})})
            self.last = now

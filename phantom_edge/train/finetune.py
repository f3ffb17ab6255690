"""Fine-tune a checkpoint on triples in the paper's two steps."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter
from transformers import PrinterCallback, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations import TensorBoardCallback

from phantom_edge.checkpoint.card import read_card
from phantom_edge.checkpoint.loading import open_checkpoint
from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.checkpoint.source import Source
from phantom_edge.data.sources import open_triples
from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.models.hub import find_folder, name_of
from phantom_edge.processing.processor import PhantomProcessor
from phantom_edge.train.adapters import adapted, load_base, merged
from phantom_edge.train.card import model_card
from phantom_edge.train.collate import Collator, Group, groups_of
from phantom_edge.train.objectives import Preference
from phantom_edge.train.parts import freeze_for, trained_parameters
from phantom_edge.train.runs import BEFORE, RunFolder, fingerprint, last_checkpoint
from phantom_edge.train.settings import FEW, PAPER, Settings
from phantom_edge.train.trainer import PhantomTrainer


@dataclass(frozen=True)
class Data:
    """Training groups and held-out groups, which share no picture; and the kinds of their questions."""

    train: list[Group]
    held_out: list[Group]
    kinds: tuple[str, ...]

    @property
    def pairs(self) -> int:
        """Number of training questions, each with one rejected answer or none."""
        return sum(len(group.pairs) for group in self.train)


@dataclass(frozen=True)
class Progress:
    """A run's callbacks: ``begin(step, optimizer_steps, trained_parameters)``, ``log(line)``, ``advance(done)``."""

    begin: Callable[[int, int, int], None] = lambda _step, _total, _trained: None
    log: Callable[[dict[str, Any]], None] = lambda _: None
    advance: Callable[[int], None] = lambda _: None


def read_data(source: Path | str, settings: Settings) -> Data:
    """Read triples and hold out a share of the pictures. Raises EdgeError where there is nothing to learn from."""
    groups = list(groups_of(open_triples(source)))
    if not groups:
        raise EdgeError(f"{source} holds no triples", "see: phantom-edge data scenes --help")
    wanting = {settings.objective_of(step) for step in settings.steps} - {"sft"}
    lacking = sum(pair.rejected is None for group in groups for pair in group.pairs)
    if wanting and lacking:
        raise EdgeError(
            f"{lacking:,} questions in {source} have no rejected answer, which {', '.join(sorted(wanting))} needs",
            "run: phantom-edge data curate, or train with --objective sft",
        )
    pictures = list(dict.fromkeys(group.images for group in groups))
    Random(settings.seed).shuffle(pictures)
    aside = set(pictures[: round(len(pictures) * settings.held_out)])
    kinds = tuple(dict.fromkeys(["", *(pair.kind for group in groups for pair in group.pairs)]))
    train = [group for group in groups if group.images not in aside]
    return Data(train, [group for group in groups if group.images in aside], kinds)


def count_rows(source: Path | str, held_out: float) -> int:
    """Number of rows that a run would train on, a picture with its questions each, as far as its settings need it."""
    found = sum(1 for _ in islice(groups_of(open_triples(source)), 2 * FEW * PAPER[0]))
    return found - round(found * held_out)


def finetune(
    source: str, data_source: Path | str, out: Path, settings: Settings, *, resume: bool = False, progress: Progress
) -> Path:
    """Fine-tune the checkpoint ``source``; returns the folder of the finished one.

    ``out`` becomes the run's folder: settings, metrics, curves, and ``out/model``. A killed run continues with
    ``resume`` to exactly the losses of an unbroken one. Raises EdgeError for mistakes that the user can fix.
    """
    if settings.optimizer == "apollo_adamw":
        need("apollo_torch")  # in no extra: few use it
    _check_processes()
    folder = find_folder(source)
    Source.open(folder).check_ids()
    data = read_data(data_source, settings)
    run = RunFolder(out)
    asked = {"checkpoint": fingerprint(folder), "data": _data_fingerprint(data_source), **settings.document()}
    with run.held() if is_main_process() else nullcontext():
        if is_main_process():
            run.begin(asked, resume)
        if (run.model / "config.json").exists():
            return run.model
        processor = PhantomProcessor.from_pretrained(folder)
        source_dtype = open_checkpoint(folder)[0].dtype
        for step in settings.steps:
            done = out / f"step-{step}-model"
            if not (done / "config.json").exists():
                set_seed(settings.seed)
                start = out / f"step-{step - 1}-model"
                start = start if start.exists() else folder
                dtype = source_dtype if step == settings.steps[-1] else torch.float32  # rounded once, at the end
                _train_step(step, start, processor, data, run, settings, done, dtype, progress)
        if is_main_process():
            last = out / f"step-{settings.steps[-1]}-model"
            run.finish(last, model_card(name_of(source), read_card(folder), run.lines(), settings, data.pairs))
        return run.model


def is_main_process() -> bool:
    """True where this process writes files: the only one, or the first that ``accelerate launch`` started."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _check_processes() -> None:
    """Raises EdgeError where launched processes are not joined: they would write the same folder."""
    from accelerate import PartialState

    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched > 1 and PartialState().num_processes == 1:
        raise EdgeError(
            f"{launched} processes were launched, but accelerate joins them only on accelerators with these options",
            "launch with --cpu and without --use_fsdp, or on a machine with GPUs",
        )


def _data_fingerprint(source: Path | str) -> str:
    return fingerprint(Path(source)) if Path(source).exists() else str(source)


def _train_step(
    step: int,
    start: Path,
    processor: PhantomProcessor,
    data: Data,
    run: RunFolder,
    settings: Settings,
    done: Path,
    dtype: torch.dtype,
    progress: Progress,
) -> None:
    base = settings.base if step == 2 else "full"
    model: Any = load_base(start, base, bf16=settings.bf16)
    objective = settings.objective_of(step)
    reference = None
    if base == "full":
        freeze_for(model, step)
        if objective == "dpo":
            reference = load_base(start, "full", bf16=settings.bf16).eval().requires_grad_(False)
    else:
        model = adapted(model, settings.rank, settings.alpha)
    arguments = training_arguments(run.path / f"step-{step}", settings)
    reporter = _Reporter(step, run, progress, trained_parameters(model))
    trainer = PhantomTrainer(
        model=model,
        args=arguments,
        data_collator=Collator(processor, settings.max_tokens, data.kinds),
        train_dataset=data.train,
        eval_dataset=data.held_out or None,
        objective=objective,
        preference=Preference(settings.beta, settings.gamma),
        reference=reference,
        kinds=data.kinds,
        callbacks=[
            reporter,
            TensorBoardCallback(SummaryWriter(str(run.path / "tensorboard" / f"step-{step}"))),
        ],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, where results go
    checkpoint = last_checkpoint(run.path / f"step-{step}")
    if data.held_out and step == settings.steps[0] and not _is_measured(run):
        reporter.stage = BEFORE
        trainer.evaluate()
        reporter.stage = f"step {step}"
        set_seed(settings.seed)  # as if nothing had been measured: a resumed run measures nothing here
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if data.held_out:
        trainer.evaluate()
    trainer.accelerator.wait_for_everyone()
    whole = trainer.accelerator.unwrap_model(trainer.model)
    if is_main_process():
        finished: PhantomForConditionalGeneration = whole if base == "full" else merged(whole, start)
        processor.save_pretrained(done)
        finished.to(dtype).save_pretrained(done)
    trainer.accelerator.wait_for_everyone()


def _is_measured(run: RunFolder) -> bool:
    """True where the checkpoint was measured before its first step, in every process alike."""
    from accelerate.utils import broadcast_object_list

    found = [any(line["stage"] == BEFORE for line in run.lines())]
    return bool(broadcast_object_list(found)[0])


def training_arguments(out: Path, settings: Settings) -> TrainingArguments:
    """Returns the settings as transformers' arguments."""
    from accelerate import PartialState

    processes = PartialState().num_processes
    settings = settings.with_micro_batch(processes)
    return TrainingArguments(
        output_dir=str(out),
        seed=settings.seed,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps,
        per_device_train_batch_size=settings.micro_batch,
        per_device_eval_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch // (settings.micro_batch * processes),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": settings.final_learning_rate},
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        optim=settings.optimizer,
        optim_target_modules=["self_attn", "mlp"] if settings.optimizer == "apollo_adamw" else None,
        activation_checkpointing=settings.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        bf16=settings.bf16,
        use_cpu=not torch.accelerator.is_available(),  # without it Trainer refuses bf16 there
        logging_steps=1,
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        eval_strategy="no",
        remove_unused_columns=False,
        dataloader_num_workers=0,
        report_to=[],  # TensorBoard is added by hand: its files belong beside the metrics
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
    )


class _Reporter(TrainerCallback):
    """Passes Trainer's logs to the run's metrics and to the caller."""

    def __init__(self, step: int, run: RunFolder, progress: Progress, trained: int) -> None:
        self.stage = f"step {step}"
        self.step = step
        self.run = run
        self.progress = progress
        self.trained = trained

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the step's size."""
        if state.is_world_process_zero:
            self.progress.begin(self.step, state.max_steps, self.trained)
            self.progress.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the optimizer steps done."""
        if state.is_world_process_zero:
            self.progress.advance(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append a line of metrics."""
        if state.is_world_process_zero and logs:
            line = {"stage": self.stage, "step": state.global_step, **logs}
            self.run.log(line)
            self.progress.log(line)

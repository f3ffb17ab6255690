"""``phantom-edge train``: fine-tune on triples, train a draft layer, or train phantom-nano from scratch."""

from collections.abc import Callable
from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge.cli.bundles import check_model, check_triples
from phantom_edge.cli.choices import CHECKPOINT
from phantom_edge.cli.console import (
    JsonOption,
    OutArgument,
    destination,
    display,
    friendly,
    load_torch,
    note,
    out_option,
    print_json,
    print_table,
    stopped,
)
from phantom_edge.cli.draft import draft
from phantom_edge.cli.help import Command, Group
from phantom_edge.foundation.errors import UsageError, need

if TYPE_CHECKING:
    from phantom_edge.train.settings import Settings

MEMORY = "Memory"
"""Panel of the help for flags that change no result but its rounding."""

app = typer.Typer(cls=Group, help="Fine-tune with Phantom Optimization.", no_args_is_help=True)


@app.command(cls=Command)
@friendly
def po(
    checkpoint: Annotated[str, typer.Argument(help=CHECKPOINT)],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            "-d",
            help="JSONL file of triples, parquet or tar file with pictures inside, or a quoted glob of such files.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the model is written to OUT/model.")],
    step: Annotated[int | None, typer.Option(help="Run only this step, 1 or 2.")] = None,
    objective: Annotated[str, typer.Option(help="Objective of step 1: po, sft, simpo or dpo.")] = "po",
    second_objective: Annotated[str, typer.Option(help="Objective of step 2 (the paper: sft).")] = "sft",
    beta: Annotated[float, typer.Option(help="Strength of the preference term (dpo: about 0.1).")] = 2.0,
    gamma: Annotated[float, typer.Option(help="Target margin of the preference term.")] = 0.5,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the data in each step.", show_default="by the amount of data")
    ] = None,
    max_steps: Annotated[int, typer.Option(help="Optimizer steps in each step; -1: by --epochs.")] = -1,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Pictures per optimizer step, with all their questions.", show_default="by the amount of data"
        ),
    ] = None,
    micro_batch: Annotated[
        int | None, typer.Option(rich_help_panel=MEMORY, help="Pictures in memory at a time.", show_default="up to 4")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", help="Initial learning rate.", show_default="by the amount of data"),
    ] = None,
    final_learning_rate: Annotated[
        float | None, typer.Option(help="Final learning rate; default: a tenth of --learning-rate.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="Optimizer: adamw_torch, adamw_torch_fused, adamw_8bit or apollo_adamw.")
    ] = "adamw_torch",
    base: Annotated[
        str,
        typer.Option(
            help="Weights that step 2 trains: full, all; lora, adapters; int8 or nf4, adapters over a quantized model."
        ),
    ] = "full",
    rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 256,
    alpha: Annotated[int, typer.Option(help="Scale of the adapters: alpha / rank.")] = 256,
    held_out: Annotated[float, typer.Option(help="Share of the pictures held out to measure on.")] = 0.1,
    max_tokens: Annotated[int, typer.Option(help="Maximum row length, tokens: picture, questions, answers.")] = 4096,
    checkpoint_every: Annotated[int, typer.Option(help="Optimizer steps between checkpoints to resume from.")] = 50,
    gradient_checkpointing: Annotated[
        bool,
        typer.Option(
            "--gradient-checkpointing", rich_help_panel=MEMORY, help="Recompute activations: less memory, slower."
        ),
    ] = False,
    bf16: Annotated[
        bool, typer.Option(rich_help_panel=MEMORY, help="Multiply in bfloat16; weights stay float32.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was stopped or killed.")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Fine-tune on triples in the paper's two steps: preference on the phantom parts, then everything.

    Batch, epochs and learning rate follow the amount of data: the paper's for many thousands of pictures, and for fewer
    those by which phantom-nano learned 100 pictures. Mix in some of what the model knew, or it forgets that.

    Several GPUs or machines: accelerate launch --module phantom_edge train po ...
    """
    check_model(checkpoint)
    check_triples(data)
    load_torch()
    need("accelerate", "train")
    need("matplotlib", "train")
    need("tensorboard", "train")
    _quiet()
    from phantom_edge.train.runs import BEFORE
    from phantom_edge.train.settings import STEPS, Settings, micro_batch_for

    batch, epochs, learning_rate = _by_amount(data, held_out, batch, epochs, learning_rate)
    settings = Settings(
        steps=STEPS if step is None else (step,),
        objective=objective,
        second_objective=second_objective,
        beta=beta,
        gamma=gamma,
        epochs=epochs,
        max_steps=max_steps,
        batch=batch,
        micro_batch=micro_batch_for(batch) if micro_batch is None else min(micro_batch, batch),
        learning_rate=learning_rate,
        final_learning_rate=learning_rate / 10 if final_learning_rate is None else final_learning_rate,
        optimizer=optimizer,
        base=base,
        rank=rank,
        alpha=alpha,
        held_out=held_out,
        max_tokens=max_tokens,
        checkpoint_every=checkpoint_every,
        gradient_checkpointing=gradient_checkpointing,
        bf16=bf16,
        seed=seed,
    )
    lines = _run(checkpoint, data, out, settings, resume)
    measured = [line for line in lines if "eval_exact" in line]
    if json:
        print_json({"model": str(out / "model"), "run": str(out), "held_out": measured})
        return
    if measured:
        print_table(
            "On held-out pictures",
            ("", *(line["stage"] if line["stage"] == BEFORE else f"after {line['stage']}" for line in measured)),
            [(name, *(shown(line) for line in measured)) for name, shown in FIGURES.items()],
        )
    note(f"curves: {out / 'curves.png'}; next: phantom-edge run --model {out / 'model'} --image a.jpg 'What is this?'")


def _by_amount(
    data: str, held_out: float, batch: int | None, epochs: float | None, rate: float | None
) -> tuple[int, float, float]:
    """Batch, epochs and learning rate: those given, and for others what the amount of data asks for, with a note."""
    if batch is not None and epochs is not None and rate is not None:
        return batch, epochs, rate
    from phantom_edge.train.finetune import count_rows
    from phantom_edge.train.settings import PAPER, for_amount

    rows = count_rows(data, held_out)
    usual = for_amount(rows)
    batch = usual[0] if batch is None else batch
    epochs, rate = usual[1] if epochs is None else epochs, usual[2] if rate is None else rate
    amount = "the paper's settings" if usual == PAPER else f"settings for {rows:,} rows, a picture with questions each"
    note(f"{amount}: --batch {batch} --epochs {epochs:g} --lr {rate:g}")
    return batch, epochs, rate


def _quiet() -> None:
    """Silence transformers' bars and hints, and bitsandbytes' hint at a faster kernel. Their errors stay."""
    from transformers.utils.logging import set_verbosity_error

    from phantom_edge.models.packages import quiet_transformers

    quiet_transformers()
    set_verbosity_error()
    getLogger("bitsandbytes").setLevel(ERROR)


def _figure(name: str, form: str) -> Callable[[dict[str, Any]], str]:
    return lambda line: format(line[name], form) if name in line else "-"


FIGURES = {
    "questions answered right": _figure("eval_exact", ".1%"),
    "SFT loss, nats a token": _figure("eval_sft_loss", ".3f"),
    "margin, nats a token": _figure("eval_margin", ".3f"),
    "preference accuracy": _figure("eval_preference_accuracy", ".1%"),
}
"""Figures on held-out pictures, by their names in the table."""


def _run(checkpoint: str, data: str, out: Path, settings: "Settings", resume: bool) -> list[dict[str, Any]]:
    from phantom_edge.train.finetune import Progress, finetune, is_main_process
    from phantom_edge.train.runs import RunFolder
    from phantom_edge.train.settings import FEW

    with display(shown=is_main_process()) as bars:
        task = bars.add_task("reading", total=None)

        def begin(step: int, total: int, trained: int) -> None:
            note(f"step {step}: {total:,} optimizer steps, {trained / 1e6:,.2f} M trained parameters")
            if total < FEW:
                note(f"warning: fewer than {FEW} optimizer steps teach little: give more --epochs or a smaller --batch")
            bars.reset(task, total=total, description=f"step {step}")

        def log(line: dict[str, Any]) -> None:
            if "loss" in line:
                more = "".join(
                    f" {name} {line[name]:.3f}" for name in ("margin", "preference_accuracy") if name in line
                )
                bars.update(task, description=f"{line['stage']}  loss {line['loss']:.3f}{more}")

        try:
            finetune(
                checkpoint,
                data,
                out,
                settings,
                resume=resume,
                progress=Progress(begin, log, lambda done: bars.update(task, completed=done)),
            )
        except KeyboardInterrupt:
            stopped("the same command with --resume goes on from the last checkpoint.")
    return RunFolder(out).lines()


@app.command(cls=Command)
@friendly
def nano(
    place: Annotated[Path | None, OutArgument] = None,
    out: Annotated[Path | None, out_option("Folder of the run, required; each stage leaves OUT/STAGE/model.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the weights.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Number of processes that draw scenes.")] = 1,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Train phantom-nano, the small model that ships with this package, from scratch on drawn scenes.

    Takes hours on two cores. After an interruption, the same command resumes from the last checkpoint.
    """
    out = destination(out, place)
    if seed >= 2**32:
        raise UsageError(f"--seed is {seed}", f"give {2**32 - 1} or less")
    load_torch()
    need("accelerate", "train")
    _quiet()
    from phantom_edge.models.sizes import SIZES
    from phantom_edge.train.nano.recipe import MetricsCallback, train_nano
    from phantom_edge.train.nano.stages import NANO_STAGES, Stage

    with display() as bars:
        tasks = {stage.name: bars.add_task(stage.name, total=stage.steps, start=False) for stage in NANO_STAGES}

        def begin(stage: Stage) -> None:
            bars.start_task(tasks[stage.name])
            note(f"{stage.name}: {stage.steps:,} steps of {stage.batch} scenes")

        def advance(stage: str, step: int) -> None:
            bars.update(tasks[stage], completed=step)

        model = train_nano(
            SIZES["nano"],
            out,
            seed=seed,
            workers=workers,
            begin=begin,
            callback=lambda stage: MetricsCallback(stage, out, advance),
        )
    if json:
        print_json({"model": str(model)})
    else:
        note(f"next: phantom-edge eval {model} --data scenes/triples.jsonl")


app.command("draft", cls=Command)(draft)

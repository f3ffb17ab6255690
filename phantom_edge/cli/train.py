"""``phantom-edge train``: fine-tune on triples, or train phantom-nano from scratch."""

from logging import ERROR, getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phantom_edge.cli.console import (
    JsonOption,
    display,
    friendly,
    load_torch,
    note,
    print_json,
    print_table,
    stopped,
)
from phantom_edge.foundation.errors import need

if TYPE_CHECKING:
    from phantom_edge.train.settings import Settings

app = typer.Typer(help="Fine-tune with Phantom Optimization.", no_args_is_help=True)


@app.command()
@friendly
def po(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id to start from.")],
    data: Annotated[str, typer.Option("--data", "-d", help="Triples: JSONL, or parquet or tars with pictures inside.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; the model is written to OUT/model.")],
    step: Annotated[int | None, typer.Option(help="Run only this step, 1 or 2.")] = None,
    objective: Annotated[str, typer.Option(help="Objective of step 1: po, sft, simpo or dpo.")] = "po",
    second_objective: Annotated[str, typer.Option(help="Objective of step 2 (the paper: sft).")] = "sft",
    beta: Annotated[float, typer.Option(help="Strength of the preference term (dpo: about 0.1).")] = 2.0,
    gamma: Annotated[float, typer.Option(help="Target margin of the preference term.")] = 0.5,
    epochs: Annotated[float, typer.Option(help="Passes over the data in each step.")] = 1.0,
    max_steps: Annotated[int, typer.Option(help="Optimizer steps in each step; -1: by --epochs.")] = -1,
    batch: Annotated[int, typer.Option(help="Pictures per optimizer step, with all their questions.")] = 128,
    micro_batch: Annotated[int, typer.Option(help="Pictures in memory at a time.")] = 4,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", help="Initial learning rate.")] = 1e-5,
    final_learning_rate: Annotated[
        float | None, typer.Option(help="Final learning rate; default: a tenth of --learning-rate.")
    ] = None,
    optimizer: Annotated[
        str, typer.Option(help="Optimizer: adamw_torch, adamw_torch_fused, adamw_8bit or apollo_adamw.")
    ] = "adamw_torch",
    base: Annotated[str, typer.Option(help="Step 2: full, or adapters over a lora, int8 or nf4 base.")] = "full",
    rank: Annotated[int, typer.Option(help="Rank of the adapters.")] = 256,
    alpha: Annotated[int, typer.Option(help="Scale of the adapters: alpha / rank.")] = 256,
    held_out: Annotated[float, typer.Option(help="Share of the pictures held out to measure on.")] = 0.1,
    max_tokens: Annotated[int, typer.Option(help="Maximum row length, tokens: picture, questions, answers.")] = 4096,
    checkpoint_every: Annotated[int, typer.Option(help="Optimizer steps between checkpoints to resume from.")] = 50,
    gradient_checkpointing: Annotated[bool, typer.Option(help="Recompute activations: less memory, slower.")] = False,
    bf16: Annotated[bool, typer.Option(help="Multiply in bfloat16; weights stay float32.")] = True,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume a run that was stopped or killed.")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Fine-tune on triples in the paper's two steps: preference on the phantom parts, then everything.

    Several GPUs or machines: accelerate launch --module phantom_edge train po ...
    """
    load_torch()
    need("accelerate", "train")
    need("matplotlib", "train")
    need("tensorboard", "train")
    _quiet()
    from phantom_edge.train.settings import STEPS, Settings

    settings = Settings(
        steps=STEPS if step is None else (step,),
        objective=objective,
        second_objective=second_objective,
        beta=beta,
        gamma=gamma,
        epochs=epochs,
        max_steps=max_steps,
        batch=batch,
        micro_batch=min(micro_batch, batch),
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
            ("stage", "right", "SFT loss, nats a token", "margin", "preference accuracy"),
            [_row(line) for line in measured],
        )
    note(f"curves: {out / 'curves.png'}; next: phantom-edge run --model {out / 'model'} --image a.jpg 'What is this?'")


def _quiet() -> None:
    """Silence transformers' bars and hints, and bitsandbytes' hint at a faster kernel. Their errors stay."""
    from transformers.utils.logging import set_verbosity_error

    from phantom_edge.models.packages import quiet_transformers

    quiet_transformers()
    set_verbosity_error()
    getLogger("bitsandbytes").setLevel(ERROR)


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    margin, accuracy = line.get("eval_margin"), line.get("eval_preference_accuracy")
    return (
        line["stage"],
        f"{line['eval_exact']:.1%}",
        f"{line['eval_sft_loss']:.3f}",
        "-" if margin is None else f"{margin:.3f}",
        "-" if accuracy is None else f"{accuracy:.1%}",
    )


def _run(checkpoint: str, data: str, out: Path, settings: "Settings", resume: bool) -> list[dict[str, Any]]:
    from phantom_edge.train.finetune import Progress, finetune, is_main_process
    from phantom_edge.train.runs import RunFolder

    with display(shown=is_main_process()) as bars:
        task = bars.add_task("reading", total=None)

        def begin(step: int, total: int, trained: int) -> None:
            note(f"step {step}: {total:,} optimizer steps, {trained / 1e6:,.2f} M trained parameters")
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


@app.command()
@friendly
def nano(
    out: Annotated[Path, typer.Argument(help="Folder of the run; each stage leaves OUT/STAGE/model.")],
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Random seed of the weights.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Number of processes that draw scenes.")] = 1,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Train phantom-nano, the small model that ships with this package, from scratch on drawn scenes.

    Takes hours on two cores. After an interruption, the same command resumes from the last checkpoint.
    """
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

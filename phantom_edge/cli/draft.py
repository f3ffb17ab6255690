"""``phantom-edge train draft``: a layer that proposes tokens, which the model verifies."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from phantom_edge.cli.bundles import check_model, check_triples
from phantom_edge.cli.console import (
    JsonOption,
    force_option,
    friendly,
    load_torch,
    note,
    print_json,
    print_table,
    tasks,
)


@friendly
def draft(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder or hub id; its weights stay as they are.")],
    data: Annotated[str, typer.Option("--data", "-d", help="Triples: JSONL, or parquet or tars with pictures inside.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the checkpoint with its draft layer.")],
    steps: Annotated[int, typer.Option(help="Number of tokens of a draft.")] = 3,
    words: Annotated[int, typer.Option(help="Maximum size of the draft vocabulary, tokens.")] = 8000,
    tokens: Annotated[int, typer.Option(help="Maximum number of answers' tokens to learn from.")] = 200_000,
    updates: Annotated[int, typer.Option(help="Number of optimizer steps.")] = 500,
    batch: Annotated[int, typer.Option(help="Drafts per optimizer step.")] = 512,
    micro_batch: Annotated[int, typer.Option(help="Pictures in memory at a time.")] = 8,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", help="Highest learning rate.")] = 2e-3,
    held_out: Annotated[float, typer.Option(help="Share of the answers held out to measure on.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    force: Annotated[bool, force_option("the checkpoint")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Train a draft layer, by which bundles answer at length in fewer steps, with the same words.

    It learns from the chosen answers of more than four tokens, some minutes for phantom-nano. Train it last: a
    checkpoint that is fine-tuned afterwards leaves it behind.
    """
    check_model(checkpoint)
    check_triples(data)
    load_torch()
    from phantom_edge.train.draft.train import Settings, document, train_draft

    settings = Settings(steps, words, tokens, updates, batch, learning_rate, held_out, micro_batch, seed)
    with tasks() as begin:
        trained = train_draft(checkpoint, data, out, settings, begin, force=force)
    if json:
        print_json(document(trained, out))
        return
    rows = [
        ("answers", f"{trained.answers:,}"),
        ("their tokens", f"{trained.tokens:,}"),
        ("draft vocabulary", f"{trained.words:,}"),
        ("tokens that it has", f"{trained.covered:.1%}"),
        ("loss, nats a token", f"{trained.loss:.3f}"),
        ("tokens a step", f"{trained.tokens_a_step:.2f}"),
    ]
    print_table(str(out), ("draft layer", "value"), rows, "tokens a step: expected of held-out answers")
    from phantom_edge.export.targets import TARGETS

    target = next(one.name for one in TARGETS.values() if one.drafts)
    note(f"next: phantom-edge export {quote(str(out))} --target {target} --out BUNDLE")

"""``phantom-edge init``: a checkpoint of a known size with random weights."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from phantom_edge.cli.choices import Dtype, torch_dtype
from phantom_edge.cli.console import (
    ForceOption,
    JsonOption,
    friendly,
    load_torch,
    note,
    print_json,
    print_table,
    progress,
)
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.sizes import SIZES


@friendly
def init(
    size: Annotated[str, typer.Argument(help=f"One of: {', '.join(SIZES)}.", metavar="SIZE")],
    out: Annotated[Path, typer.Argument(help="Folder to write.", metavar="OUT")],
    random: Annotated[
        bool, typer.Option("--random", help="Random weights: required, as init writes no others.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same bytes.")] = 0,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the weights.")] = Dtype.fp16,
    eta: Annotated[float, typer.Option(help="Weight of the phantom branch; the released models have 1e-4.")] = 1e-4,
    force: Annotated[bool, ForceOption] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Write a valid checkpoint of a known size with random weights, to measure size and speed."""
    if size not in SIZES:
        raise EdgeError(f"size '{size}' is not one of {', '.join(SIZES)}", "see: phantom-edge models")
    if not random:
        raise EdgeError(
            "init writes random weights only, and needs --random to confirm that",
            f"run: phantom-edge init {size} {quote(str(out))} --random",
        )
    load_torch()
    from phantom_edge.convert.random import write_random

    with progress(f"writing {size}") as begin:
        write_random(SIZES[size], out, seed=seed, dtype=torch_dtype(dtype), eta=eta, force=force, begin=begin)
    report(out, json, f'phantom-edge run --model {out} "What is this?"')


def report(out: Path, as_json: bool, next_command: str) -> None:
    """Print the written files and the next command."""
    files = sorted(file for file in out.iterdir() if file.is_file() and not file.name.startswith("."))
    if as_json:
        print_json({"folder": str(out), "files": {file.name: file.stat().st_size for file in files}})
        return
    print_table(str(out), ("file", "MB"), [(file.name, f"{file.stat().st_size / 1e6:,.2f}") for file in files])
    note(f"next: {next_command}")

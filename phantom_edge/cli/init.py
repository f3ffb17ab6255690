"""``phantom-edge init``: a checkpoint of a known size with random weights."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from phantom_edge.cli.choices import Dtype, torch_dtype
from phantom_edge.cli.console import (
    JsonOption,
    OutArgument,
    destination,
    force_option,
    friendly,
    load_torch,
    megabytes,
    note,
    out_option,
    print_json,
    print_table,
    progress,
)
from phantom_edge.foundation.errors import UsageError
from phantom_edge.foundation.files import check_target
from phantom_edge.models.sizes import SIZES


@friendly
def init(
    size: Annotated[str, typer.Argument(help=f"One of: {', '.join(SIZES)}.", metavar="SIZE")],
    place: Annotated[Path | None, OutArgument] = None,
    out: Annotated[Path | None, out_option("Folder to write; required.")] = None,
    random: Annotated[
        bool, typer.Option("--random", help="Random weights: required, as init writes no others.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Random seed; the same seed gives the same bytes.")] = 0,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the weights.")] = Dtype.fp16,
    eta: Annotated[float, typer.Option(help="Weight of the phantom branch; the released models have 1e-4.")] = 1e-4,
    force: Annotated[bool, force_option("the checkpoint")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Write a valid checkpoint of a known size with random weights, to measure size and speed."""
    out = destination(out, place)
    if size not in SIZES:
        raise UsageError(f"size '{size}' is not one of {', '.join(SIZES)}", "see: phantom-edge models")
    if not random:
        raise UsageError(
            "init writes random weights only, and needs --random to confirm that",
            f"run: phantom-edge init {size} --out {quote(str(out))} --random",
        )
    check_target(out, force)
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
    print_table(str(out), ("file", "MB"), [(file.name, megabytes(file.stat().st_size)) for file in files])
    note(f"next: {next_command}")

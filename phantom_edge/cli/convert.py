"""``phantom-edge convert``: the official layout to ours and back."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.bundles import check_model
from phantom_edge.cli.choices import CHECKPOINT, Dtype, torch_dtype
from phantom_edge.cli.console import (
    JsonOption,
    OutArgument,
    destination,
    force_option,
    friendly,
    load_torch,
    note,
    out_option,
    progress,
)
from phantom_edge.cli.init import report
from phantom_edge.foundation.files import check_target


class Layout(StrEnum):
    """Layouts of a checkpoint."""

    official = "official"
    ours = "ours"


@friendly
def convert(
    source: Annotated[str, typer.Argument(help=CHECKPOINT)],
    place: Annotated[Path | None, OutArgument] = None,
    out: Annotated[Path | None, out_option("Folder to write; required.")] = None,
    to: Annotated[Layout | None, typer.Option(help="Layout to write; default: the opposite of SOURCE's.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Cast the weights; default: unchanged, bit for bit.")] = None,
    force: Annotated[bool, force_option("the checkpoint")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Convert a checkpoint between the official layout and phantom-edge's own, tensor by tensor."""
    out = destination(out, place)
    check_target(out, force)
    check_model(source)
    load_torch()
    from phantom_edge.convert.convert import convert as convert_folder
    from phantom_edge.models.hub import find_folder

    with progress("converting") as begin:
        official = convert_folder(
            find_folder(source),
            out,
            to_official=None if to is None else to is Layout.official,
            dtype=None if dtype is None else torch_dtype(dtype),
            force=force,
            begin=begin,
        )
    note(f"wrote the {'official' if official else 'phantom-edge'} layout")
    report(out, json, f'phantom-edge run --model {out} "What is this?"')

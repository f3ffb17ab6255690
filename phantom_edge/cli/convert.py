"""``phantom-edge convert``: the official layout to ours and back."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.choices import Dtype, torch_dtype
from phantom_edge.cli.console import ForceOption, JsonOption, friendly, load_torch, note, progress
from phantom_edge.cli.init import report


class Layout(StrEnum):
    """Layouts of a checkpoint."""

    official = "official"
    ours = "ours"


@friendly
def convert(
    source: Annotated[str, typer.Argument(help="Checkpoint folder, or a hub id such as BK-Lee/Phantom-0.5B.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    to: Annotated[Layout | None, typer.Option(help="Layout to write; default: the opposite of SOURCE's.")] = None,
    dtype: Annotated[Dtype | None, typer.Option(help="Cast the weights; default: unchanged, bit for bit.")] = None,
    force: Annotated[bool, ForceOption] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Convert a checkpoint between the official layout and phantom-edge's own, tensor by tensor."""
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

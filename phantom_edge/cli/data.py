"""``phantom-edge data``: make and check training data."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli import curate
from phantom_edge.cli.console import (
    JsonOption,
    OutArgument,
    destination,
    display,
    force_option,
    friendly,
    note,
    out_option,
    print_json,
    print_table,
)
from phantom_edge.cli.help import Command, Group
from phantom_edge.cli.report import check_file
from phantom_edge.foundation.errors import EdgeError, UsageError

SMALLEST, LARGEST = 28, 4096
"""Bounds of a square picture's side, pixels."""

app = typer.Typer(cls=Group, help="Make and check training data.", no_args_is_help=True)
app.command(cls=Command)(curate.curate)


class Split(StrEnum):
    """Splits of the scenes; they share neither seeds nor handwriting."""

    train = "train"
    validation = "validation"
    test = "test"


class Mix(StrEnum):
    """Contents of pictures; those of shapes any size are wide, fine, blank and frames."""

    plain = "plain"
    rich = "rich"
    wide = "wide"
    fine = "fine"
    blank = "blank"
    nothing = "nothing"
    frames = "frames"


def _size(text: str | None) -> int | tuple[int, int] | None:
    """Returns a side, or width and height."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text)
    sides = [int(side) for side in found.groups() if side] if found else []
    if not sides or not all(SMALLEST <= side <= LARGEST for side in sides):
        raise UsageError(
            f"--size {text} is no size from {SMALLEST} to {LARGEST} pixels", "give a side or both: --size 448x224"
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


@app.command(cls=Command)
@friendly
def scenes(
    place: Annotated[Path | None, OutArgument] = None,
    out: Annotated[Path | None, out_option("Folder to write; required.")] = None,
    pictures: Annotated[int, typer.Option("--pictures", "-n", min=1, help="Number of pictures.")] = 1000,
    split: Annotated[Split, typer.Option(help="Splits never share a scene or a handwritten digit.")] = Split.train,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first picture.")] = 0,
    mix: Annotated[
        list[Mix] | None,
        typer.Option(
            help="Contents, in turn if given several times. plain: 2 to 6 things in a square; rich: 6 to 8, with all "
            "that can be read; wide: 2 to 8 in any shape; fine: small things in any shape; blank: empty scenes; "
            "nothing: no picture; frames: two moments.",
            show_default="plain",
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Side, or width x height, pixels.", show_default="224; wide and fine: any")
    ] = None,
    camera: Annotated[
        float | None, typer.Option(min=0, max=1, help="Maximum strength of a simulated camera, 0 (mild) to 1 (hard).")
    ] = None,
    unanswerable: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of kinds with a question without an answer.", show_default="0; wide and fine: 0.5"
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    ray: Annotated[bool, typer.Option("--ray", help="Draw on a Ray cluster that shares OUT.")] = False,
    force: Annotated[bool, force_option("the scenes")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Draw AR-like pictures with questions of many kinds, right answers and near misses."""
    out = destination(out, place)
    from phantom_edge.data.scenes.write import TRIPLES, write_scenes

    with display() as bars:
        task = bars.add_task("drawing", total=pictures)
        kinds = write_scenes(
            out,
            pictures,
            split=split.value,
            first_seed=seed,
            size=_size(size),
            mixes=tuple(one.value for one in mix or [Mix.plain]),
            camera=camera,
            unanswerable=unanswerable,
            workers=workers,
            ray=ray,
            force=force,
            progress=lambda drawn: bars.advance(task, drawn),
        )
    if json:
        print_json({"folder": str(out), "pictures": pictures, "questions": dict(kinds)})
        return
    print_table(str(out), ("kind", "questions"), [(kind, f"{number:,}") for kind, number in kinds.items()])
    note(f"next: phantom-edge data validate {out / TRIPLES}")


@app.command(cls=Command)
@friendly
def convert(
    official: Annotated[Path, typer.Argument(help="JSON file of the dataset released with Phantom.")],
    out: Annotated[Path, out_option("JSONL file of triples to write.")],
    images: Annotated[Path, typer.Option(help="Root folder of the entries' pictures.")] = Path(),
    wrong: Annotated[str | None, typer.Option(help="Field of the wrong answer, if it is not detected.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the triples at --out.")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Convert the official dataset, of any size, to JSONL triples. Exit code 1 if entries were left out."""
    from rich.progress import SpinnerColumn, TextColumn

    from phantom_edge.data.convert import convert_official

    if out.resolve() == official.resolve():
        raise EdgeError("the triples would replace the dataset", "give another name to --out")
    check_file(out, [], force)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} triples"))
    with display(*columns) as bars:
        task = bars.add_task("converting", total=None)
        done = convert_official(official, images, out, wrong, lambda step: bars.advance(task, step))
    if json:
        print_json(
            {
                "file": str(out),
                "triples": done.triples,
                "with_rejected": done.with_rejected,
                "with_pictures": done.with_pictures,
                "left_out": {f: {"entries": n, "first": done.examples[f]} for f, n in done.faults.items()},
            }
        )
    else:
        rows = [
            ("triples", done.triples),
            ("with a wrong answer", done.with_rejected),
            ("with pictures", done.with_pictures),
        ]
        print_table(str(out), ("item", "number"), [(what, f"{number:,}") for what, number in rows])
        for fault, number in done.faults.items():
            note(f"left out: {number:,} entries, such as {done.examples[fault][0]}: it {fault}")
        if done.triples and not done.with_rejected:
            note("no wrong answers were found: name their field with --wrong, or make them: phantom-edge data curate")
        note(f"next: phantom-edge data validate {out}")
    if done.faults:
        raise typer.Exit(1)


@app.command(cls=Command)
@friendly
def validate(
    file: Annotated[str, typer.Argument(help="JSONL, parquet or tar file of triples, or a quoted glob of such files.")],
    repaired: Annotated[Path | None, typer.Option(help="Write a copy without the faulty lines.")] = None,
    pictures: Annotated[bool, typer.Option(help="Open every picture instead of only checking that it exists.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 1 for a warning, too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the copy at --repaired.")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Check a data file: broken lines, missing pictures, equal or empty answers, leaks, length skew.

    Exit code 1 if a line is faulty. Uneven lengths are a warning: training takes such a file.
    """
    from phantom_edge.data.validate import validate as check

    if repaired is not None and repaired.resolve() == Path(file).resolve():
        raise EdgeError("the repaired copy would replace the file itself", "give another name to --repaired")
    check_file(repaired, [], force)
    report = check(file, repaired, pictures)
    if json:
        print_json(
            {
                "lines": report.lines,
                "good": report.good,
                "faults": {
                    fault: {"lines": number, "first": report.examples[fault]} for fault, number in report.faults.items()
                },
                "kinds": dict(report.kinds),
                "length_skew": report.length_skew,
                "is_skewed": report.is_skewed,
            }
        )
    else:
        rows = [
            (fault, f"{number:,}", ", ".join(map(str, report.examples[fault])))
            for fault, number in report.faults.items()
        ]
        note(f"{report.lines:,} lines, {report.good:,} without fault")
        if rows:
            print_table("Faults", ("fault", "lines", "first at line"), rows)
        print_table("Kinds", ("kind", "questions"), [(kind, f"{number:,}") for kind, number in report.kinds.items()])
        skew = f"chosen answers are {report.length_skew:.2f} times as long as rejected ones"
        note(f"warning: {skew}: the length gives the answer away" if report.is_skewed else f"{skew} (fine)")
        if report.faults and repaired is None:
            _advise_copy(file)
    if report.faults or (strict and report.is_skewed):
        raise typer.Exit(1)


def _advise_copy(file: str) -> None:
    from phantom_edge.data.sources import is_lines

    if is_lines(file):
        path = Path(file)
        note(f"next: phantom-edge data validate {file} --repaired {path.with_stem(path.stem + '-repaired')}")

"""``phantom-edge data``: make training data, and look it over."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.console import ForceOption, JsonOption, friendly, note, print_json, print_table
from phantom_edge.errors import EdgeError

app = typer.Typer(help="Make training data, and look it over.", no_args_is_help=True)


class Split(StrEnum):
    """Splits of the scenes; they share neither seeds nor handwriting."""

    train = "train"
    validation = "validation"
    test = "test"


@app.command()
@friendly
def scenes(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    pictures: Annotated[int, typer.Option("--pictures", "-n", min=1, help="How many pictures.")] = 1000,
    split: Annotated[Split, typer.Option(help="Splits never share a scene or a handwritten digit.")] = Split.train,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first picture.")] = 0,
    size: Annotated[int, typer.Option(min=28, help="Side of a picture, pixels.")] = 224,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    force: Annotated[bool, ForceOption] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Draw AR-like pictures with ten kinds of questions, right answers and near misses."""
    from rich.progress import Progress

    from phantom_edge.cli.console import err
    from phantom_edge.data.scenes.write import TRIPLES, write_scenes

    with Progress(console=err, transient=True) as bars:
        task = bars.add_task("drawing", total=pictures)
        kinds = write_scenes(
            out,
            pictures,
            split=split.value,
            first_seed=seed,
            size=size,
            workers=workers,
            force=force,
            progress=lambda drawn: bars.advance(task, drawn),
        )
    if json:
        print_json({"folder": str(out), "pictures": pictures, "questions": dict(kinds)})
        return
    print_table(str(out), ("kind", "questions"), [(kind, f"{number:,}") for kind, number in kinds.items()])
    note(f"next: phantom-edge data validate {out / TRIPLES}")


@app.command()
@friendly
def validate(
    file: Annotated[Path, typer.Argument(help="JSONL file of triples.")],
    repaired: Annotated[Path | None, typer.Option(help="Write a copy without the faulty lines.")] = None,
    pictures: Annotated[bool, typer.Option(help="Open every picture, not only look whether it is there.")] = True,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Check a data file: broken lines, missing pictures, equal or empty answers, leaks, length skew.

    Exit code 1 if anything is wrong.
    """
    from phantom_edge.data.validate import validate as check

    if repaired is not None and repaired.absolute() == file.absolute():
        raise EdgeError("the repaired copy would replace the file itself", "give another name to --repaired")
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
        skew = "too uneven: the length gives the answer away" if report.is_skewed else "fine"
        note(f"chosen answers are {report.length_skew:.2f} times as long as rejected ones ({skew})")
        if report.faults and repaired is None:
            note(f"next: phantom-edge data validate {file} --repaired {file.with_stem(file.stem + '-repaired')}")
    if report.faults or report.is_skewed:
        raise typer.Exit(1)

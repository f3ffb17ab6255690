"""``phantom-edge report``: profiles on one page, compared with the first."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phantom_edge.cli.console import JsonOption, friendly, note, print_json, print_table
from phantom_edge.foundation.errors import EdgeError, UsageError, need
from phantom_edge.foundation.files import check_writable

if TYPE_CHECKING:
    from phantom_edge.profile.report.page import Report
    from phantom_edge.profile.report.tables import Table

MarginOption = typer.Option(min=0, max=1, help="Relative change to treat as noise.")


@friendly
def report(
    runs: Annotated[list[Path], typer.Argument(help="Files by phantom-edge profile; the first is the baseline.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output file, HTML.")],
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables to this Markdown file.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also write the plots to this folder as PNG.")] = None,
    quality: Annotated[
        list[Path] | None,
        typer.Option(help="report.json of phantom-edge eval on one of the bundles; repeatable."),
    ] = None,
    margin: Annotated[float, MarginOption] = 0.03,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="Exit with code 1 if a stage of a later run is slower.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite page, tables and plots.")] = False,
    json: Annotated[bool, JsonOption] = False,
) -> None:
    """Write profiles to one page, each later one compared with the first: slower, faster, or no difference shown.

    A stage is slower where the whole 95 % interval of its ratio of medians lies above 1 by more than --margin.
    """
    need("matplotlib", "profile")
    from phantom_edge.foundation.files import check_target
    from phantom_edge.profile.report.page import Report
    from phantom_edge.profile.report.quality import read_quality
    from phantom_edge.profile.result import read_run

    for file in (out, markdown):
        check_file(file, [*runs, *(quality or ())], force)
    if markdown is not None and os.path.realpath(markdown) == os.path.realpath(out):
        raise UsageError("--markdown and --out are the same file", "choose another file for one of them")
    if png is not None:
        check_target(png, force)
    made = Report([read_run(path) for path in runs], [read_quality(path) for path in quality or ()], margin)
    made.html(out)
    note(f"wrote {out}")
    if markdown is not None:
        made.markdown(markdown)
        note(f"wrote {markdown}")
    if png is not None:
        note(f"wrote {made.pictures(png, force)} plots to {png}")
    slower = {number: one.slower for number, one in enumerate(made.comparisons, 2) if one.slower}
    if json:
        print_json(_document(made, out))
    else:
        show(made)
    if fail_on_regression and slower:
        for number, stages in slower.items():
            note(f"run {number} is slower than run 1: {'; '.join(stages)}")
        raise typer.Exit(1)


def check_file(path: Path | None, inputs: list[Path], force: bool) -> None:
    """Raises EdgeError for a file that must not be overwritten, and for one that cannot be written."""
    if path is None:
        return
    if os.path.realpath(path) in map(os.path.realpath, inputs):
        raise EdgeError(f"{path} is an input", "choose another file")
    if path.exists() and not force:
        raise EdgeError(f"{path} exists already", "choose another file, or add --force to overwrite it")
    check_writable(path)


def _document(made: "Report", out: Path) -> dict[str, object]:
    from phantom_edge.foundation.typed import to_json

    comparisons = [
        {"run": number, **to_json(one), "slower": one.slower} for number, one in enumerate(made.comparisons, 2)
    ]
    return {"out": str(out), "margin": made.margin, "comparisons": comparisons}


def show(made: "Report") -> None:
    """Prints the overview and the comparisons."""
    from phantom_edge.profile.report.tables import summary

    show_table(summary(made.runs))
    for section in made.beside:
        for line in section.warnings:
            note(f"{section.title}: {line}")
        for block in section.blocks:
            show_table(block.table)


def show_table(table: "Table") -> None:
    """Prints a table on stdout."""
    print_table(table.title, table.columns, table.rows, table.note or None)

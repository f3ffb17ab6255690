"""The entry point. Importing it loads neither torch nor transformers, so that --help is quick."""

from typing import Annotated

import typer

from phantom_edge.cli import (
    convert,
    data,
    demo,
    doctor,
    evaluate,
    export,
    history,
    init,
    inspect,
    lint,
    mix,
    models,
    plan,
    profile,
    quantize,
    report,
    run,
    train,
    verify,
)
from phantom_edge.foundation.versions import __version__

app = typer.Typer(
    name="phantom-edge",
    help="Take a Phantom vision-language model from checkpoint to a phone or an embedded board.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command("models")(models.models)
app.command("init")(init.init)
app.command("convert")(convert.convert)
app.command("run")(run.run)
app.command("quantize")(quantize.quantize)
app.command("mix")(mix.mix)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.command("inspect")(inspect.inspect)
app.command("lint")(lint.lint)
app.command("eval")(evaluate.evaluate)
app.command("profile")(profile.profile)
app.command("plan")(plan.plan)
app.command("report")(report.report)
app.add_typer(history.app, name="history")
app.add_typer(data.app, name="data")
app.add_typer(demo.app, name="demo")
app.add_typer(train.app, name="train")
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"phantom-edge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line."""
    app()

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
from phantom_edge.cli.help import Command, Group
from phantom_edge.foundation.versions import __version__

app = typer.Typer(
    cls=Group,
    name="phantom-edge",
    help="Take a Phantom vision-language model from checkpoint to a phone, a browser or an embedded board.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
app.command("models", cls=Command)(models.models)
app.command("init", cls=Command)(init.init)
app.command("convert", cls=Command)(convert.convert)
app.command("run", cls=Command)(run.run)
app.command("quantize", cls=Command)(quantize.quantize)
app.command("mix", cls=Command)(mix.mix)
app.command("export", cls=Command)(export.export)
app.command("verify", cls=Command)(verify.verify)
app.command("inspect", cls=Command)(inspect.inspect)
app.command("lint", cls=Command)(lint.lint)
app.command("eval", cls=Command)(evaluate.evaluate)
app.command("profile", cls=Command)(profile.profile)
app.command("plan", cls=Command)(plan.plan)
app.command("report", cls=Command)(report.report)
app.add_typer(history.app, name="history")
app.add_typer(data.app, name="data")
app.add_typer(demo.app, name="demo")
app.add_typer(train.app, name="train")
app.command("doctor", cls=Command)(doctor.doctor)


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

"""``phantom-edge demo``: pages that show a bundle at work."""

from pathlib import Path
from typing import Annotated

import typer

from phantom_edge.cli.console import friendly, note, progress
from phantom_edge.cli.help import Command, Group
from phantom_edge.foundation.errors import EdgeError

PORT = 8000

app = typer.Typer(cls=Group, help="Show a bundle at work.", no_args_is_help=True)


@app.callback()
def demo() -> None:
    """Show a bundle at work."""


@app.command(cls=Command)
@friendly
def web(
    bundle: Annotated[
        Path, typer.Argument(help="Folder of a bundle for browsers, or for ONNX Runtime.", show_default=False)
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: a free one.")] = PORT,
    page: Annotated[
        Path | None, typer.Option(help="Folder of the built page; default: the clone's apps/web/site.")
    ] = None,
) -> None:
    """Serve a page that asks the bundle about pictures, in the browser of this machine.

    The page is built in a clone by: make web. Nothing that is asked leaves the browser; Ctrl-C ends the server.
    """
    from phantom_edge.bundle.folder import Bundle, is_bundle
    from phantom_edge.export.targets.web.serving import site_server
    from phantom_edge.export.targets.web.site import find_page, golden_samples, site_files

    if not is_bundle(bundle):
        raise EdgeError(f"{bundle} is no bundle: it has no phantom.json", "make one: phantom-edge export --help")
    folder = find_page(page)
    with progress("checking") as begin:
        opened = Bundle.open(bundle, begin=begin)
    server = site_server(site_files(folder, opened, golden_samples(opened)), port)
    with server:
        typer.echo(f"http://{server.server_address[0]!s}:{server.server_port}/")
        note("Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            note("ended")

"""``optimum-cli export phantom``: optimum's way to our exporter.

Optimum finds the files of this folder in every installed distribution that has them, so neither it nor the folders
above it may have an ``__init__.py``. It is read whenever optimum-cli starts: nothing heavy is imported here.
"""

from argparse import ArgumentParser
from typing import Any, ClassVar

from optimum.commands.base import BaseOptimumCLICommand, CommandInfo
from optimum.commands.export.base import ExportCommand


class PhantomExportCommand(BaseOptimumCLICommand):
    """Hands everything on to ``phantom-edge export``."""

    COMMAND: ClassVar[CommandInfo] = CommandInfo("phantom", "Export a Phantom to a proved bundle (phantom-edge).")

    @staticmethod
    def parse_args(parser: ArgumentParser) -> None:
        """The options that phantom-edge export is mostly used with; itself it has more."""
        parser.add_argument("-m", "--model", required=True, help="Checkpoint folder or hub id.")
        parser.add_argument("--target", default="onnx", help="What is to run the bundle.")
        parser.add_argument("--weights", help="Number format of weights and activations.")
        parser.add_argument("--phantom", help="What is kept of the phantom dimension.")
        parser.add_argument("--max-context", help="Tokens that the cache holds.")
        parser.add_argument("--no-verify", action="store_true", help="Do not compare with the checkpoint.")
        parser.add_argument("--force", action="store_true", help="Replace the output folder.")
        parser.add_argument("output", help="Folder to write the bundle to.")

    def run(self) -> None:
        """Exits as phantom-edge does: 0, 1 for what the user can mend, 2 for wrong usage."""
        from phantom_edge.cli.main import app

        given: dict[str, Any] = vars(self.args)
        arguments = ["export", given["model"], "--target", given["target"], "--out", given["output"]]
        for name in ("weights", "phantom", "max_context"):
            if given[name] is not None:
                arguments += [f"--{name.replace('_', '-')}", given[name]]
        arguments += [f"--{name.replace('_', '-')}" for name in ("no_verify", "force") if given[name]]
        app(arguments)


REGISTER_COMMANDS = [(PhantomExportCommand, ExportCommand)]

"""Measures a bundle on the device that runs this module, and prints each measurement as a line of JSON.

    python -m phantom_edge.profile.measure.runner --check
    python -m phantom_edge.profile.measure.runner BUNDLE '{"repeats": 5, "tokens": 16, "threads": 0, "depths": [64]}'

The lines are those of ``phantom_edge.profile.measure.lines``; an error is ``{"error": ..., "remedy": ...}``.
"""

import json
import sys
from pathlib import Path

from phantom_edge.bundle.folder import Bundle
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.versions import __version__
from phantom_edge.profile.measure.host import measure
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.stages import Measuring, Wish


def print_line(_kind: str, line: str) -> None:
    """Prints a line on stdout and flushes it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> None:
    """Runs the command line."""
    if arguments == ["--check"]:
        print_line("", json.dumps({"version": __version__}))
        return
    folder, wish = arguments
    try:
        asked = json.loads(wish)
        asked["depths"] = tuple(asked["depths"])
        measure(Measuring(Bundle.open(Path(folder)), Wish(**asked), Gathering(print_line)))
    except EdgeError as error:
        print_line("", json.dumps({"error": error.problem, "remedy": error.remedy}))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(sys.argv[1:])

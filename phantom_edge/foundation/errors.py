"""The error that users see, and the import of optional packages."""

import importlib
from types import ModuleType

from phantom_edge.foundation.versions import extra_with, install_command

LONGEST = 4000
"""Longest problem, in characters."""


class EdgeError(Exception):
    """A mistake that the user can correct.

    ``problem`` states the fault in one line; ``remedy`` is a command to paste or a choice to make. In the problem, what
    cannot be printed is escaped, and what is longer than LONGEST is cut off: names from a damaged file hold anything.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in problem[: LONGEST + 1])
        self.problem = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]} ..."
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}\n  {self.remedy}"


class UsageError(EdgeError):
    """An argument that a command refuses, such as a flag beside one that excludes it, or a name that is no choice."""

    exit_code = 2


def need(module: str, extra: str | None = None) -> ModuleType:
    """Import ``module``, or raise the EdgeError that names the pip command for it.

    A package that is *absent* becomes an :class:`EdgeError`; one that is present but broken shows its own
    traceback, because its cause is not a missing install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name != module.partition(".")[0]:
            raise
        extra = extra or extra_with(error.name.replace("_", "-"))
        command = install_command(extra) if extra else f"pip install {error.name}"
        raise EdgeError(f"the package '{error.name}' is not installed", f"run: {command}") from None

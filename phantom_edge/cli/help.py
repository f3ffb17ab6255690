"""Help in one form: arguments in capitals, values as N, X, TEXT or PATH, few choices joined by bars, bare switches."""

import re
from typing import Any

from typer.core import TyperCommand, TyperGroup

KINDS = {"int": "N", "float": "X", "str": "TEXT", "path": "PATH", "file": "PATH", "directory": "PATH", "bool": ""}
"""Names of values by typer's own, of which some differ between options and arguments, or hold Python's types."""

WIDEST = 24
"""Width of choices that fit the column of values, characters. The help's text has to name longer ones."""


class Command(TyperCommand):
    """A command whose help names values in one form, and fills the lines of its paragraphs."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help."""
        if self.help:
            self.help = "\n\n".join(" ".join(part.split()) for part in self.help.split("\n\n"))
        super().format_help(ctx, formatter)

    def get_params(self, ctx: Any) -> list[Any]:
        """Returns the parameters, with one form of their names and values."""
        return _named(super().get_params(ctx), ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Returns the words of the usage line, without arguments that the help hides."""
        words = super().collect_usage_pieces(ctx)
        for param in self.get_params(ctx):
            for word in param.get_usage_pieces(ctx) if getattr(param, "hidden", False) else ():
                words.remove(word)
        return words


class Group(TyperGroup):
    """A command with commands below it, whose help names values in one form."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Returns the parameters, with one form of their names and values."""
        return _named(super().get_params(ctx), ctx)


def _named(params: list[Any], ctx: Any) -> list[Any]:
    for param in params:
        if "display_type" in vars(param):
            continue
        if param.param_type_name == "argument":
            param.metavar = param.metavar or param.name.upper()
        vars(param)["display_type"] = _constant(_form(param.display_type(ctx)) or None)
    return params


def _form(label: str) -> str:
    """Returns our name of a value from typer's, such as ``<list[Path]>`` or ``<int range>``."""
    inside = label.strip("<>").removesuffix(" range")
    several = re.fullmatch(r"list\[(.*)\]", inside)
    one = several[1] if several else inside
    form = KINDS.get(one.lower(), one if len(one) <= WIDEST else "TEXT")
    return f"{form} ..." if several else form


def _constant(text: str | None) -> Any:
    return lambda ctx: text

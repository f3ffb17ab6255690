"""The options of all targets as flags of one command; a flag of another target is refused."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.target import Target, flag_of


def with_target_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Returns ``command`` with a flag for each option; its last parameter ``own`` takes a dict of the given flags.

    A target's flags have a panel of their own in ``--help``. A flag that means something else to each of several
    targets is in a panel of theirs, the last; one that means the same is in the first one's.
    """
    plain = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    known = [one.replace(annotation=hints[name]) for name, one in plain.parameters.items() if name != "own"]
    flags = _flags()

    def run(**values: Any) -> None:
        own = {name: values.pop(name) for name in flags}
        command(**values, own={name: value for name, value in own.items() if value is not None})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    parameters = [*known, *flags.values()]
    vars(run)["__signature__"] = plain.replace(parameters=parameters)
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _flags() -> dict[str, inspect.Parameter]:
    owners: dict[str, list[tuple[Target, Field[Any]]]] = {}
    for target in TARGETS.values():
        for one in fields(target.options):
            owners.setdefault(one.name, []).append((target, one))
    return {name: _flag(name, own) for name, own in sorted(owners.items(), key=lambda found: _differs(found[1]))}


def _differs(owners: "Sequence[tuple[Target, Field[Any]]]") -> bool:
    return len({field.metadata["help"] for _, field in owners}) > 1


def _plain(hint: Any) -> type:
    """Returns the type that the command line parses; the options check everything else."""
    kinds = [kind for kind in (bool, int, float) if kind is hint or kind in getattr(hint, "__args__", ())]
    return kinds[0] if kinds else str


def _flag(name: str, owners: Sequence[tuple[Target, "Field[Any]"]]) -> inspect.Parameter:
    first, field = owners[0]
    kind, about = _plain(get_type_hints(first.options)[name]), field.metadata
    flag, text, panel = flag_of(name, about), _help(kind, field), f"Target {first.name}: {first.title}"
    names = [flag] if kind is not bool or about["short"] else [f"{flag}/--no-{flag.removeprefix('--')}"]
    if _differs(owners):
        text = " ".join(f"For {target.name}: {_help(kind, one)}" for target, one in owners)
        panel = f"Targets {' and '.join(target.name for target, _ in owners)}"
    option = typer.Option(*names, help=text.replace("[", "\\["), rich_help_panel=panel)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _help(kind: type, field: "Field[Any]") -> str:
    """A target's help of a flag, with its default."""
    text = str(field.metadata["help"])
    return f"{text} [default: {field.default}]" if kind is not bool and isinstance(field.default, str | int) else text

"""Frozen dataclasses as strict JSON, and the JSON Schema that says the same: pydantic, with messages of one line.

Nothing is guessed: an unknown or missing field, a wrong type or an impossible number is refused with its place.
"""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache, reduce
from typing import Any, TypeVar

T = TypeVar("T")
DRAFT = "https://json-schema.org/draft/2020-12/schema"
UNKNOWN = "unexpected_keyword_argument"
FAULTS = {
    UNKNOWN: "{place} is not known",
    "missing": "{place} is missing",
    "tuple_type": "{place} is no list",
    "dict_type": "{place} is no object",
    "dataclass_type": "{place} is no object",
    "int_type": "{place} is {input!r:.60}, not integer",
    "float_type": "{place} is {input!r:.60}, not number",
    "string_type": "{place} is {input!r:.60}, not string",
    "bool_type": "{place} is {input!r:.60}, not boolean",
    "literal_error": "{place} is {input!r:.60}, not {ctx[expected]}",
    "value_error": "{inside}{ctx[error]}",
}
"""Messages by pydantic's types of errors."""


class WrongJson(ValueError):
    """A document that does not fit; the message begins with the place, such as ``parts.vision.file``."""


def from_json(kind: type[T], document: Any, place: str = "") -> T:
    """``document`` as a ``kind``. Raises WrongJson."""
    from pydantic import ValidationError

    try:
        _check(held := {place: document})
        value: T = _adapter(kind).validate_json(json.dumps(held))[place]  # type: ignore[arg-type]  # types have hashes
    except RecursionError as error:
        raise WrongJson(f"{place or 'the document'} is nested too deeply") from error
    except ValidationError as error:
        fault = min(error.errors(include_url=False), key=lambda one: (one["type"] != UNKNOWN, one["type"] != "missing"))
        steps = (step for step in fault["loc"] if step not in ("int", "str"))  # pydantic's names of a union's branches
        where = reduce(_inside, steps, "")
        words = {"place": where or "the document", "inside": f"{where}." if where else "", **fault}
        raise WrongJson(FAULTS.get(fault["type"], "{place} cannot be read: {msg}").format(**words)) from error
    _check_literals(value, document, place)
    return value


def _check_literals(value: Any, document: Any, place: str) -> None:
    """Refuse what pydantic takes for the literal 1: ``true`` and 1.0."""
    held: dict[Any, Any]
    if is_dataclass(value):
        held = {one.name: getattr(value, one.name) for one in fields(value) if one.name in document}
    else:
        held = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list | tuple) else {}
    for step, one in held.items():
        _check_literals(one, document[step], _inside(place, step))
    if isinstance(value, int) and type(value) is not type(document):
        raise WrongJson(f"{place} is {document!r}, not {value!r}")


@cache
def _adapter(kind: Any, *, has_descriptions: bool = False) -> Any:
    """Reads one ``kind`` by its place: a dataclass of the standard library is configured by what holds it.

    ``has_descriptions``: the schema has the docstrings below fields, for which pydantic parses the classes' source.
    """
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(strict=True, extra="forbid", use_attribute_docstrings=has_descriptions)
    return TypeAdapter(dict[str, kind], config=config)


def _inside(place: str, step: Any) -> str:
    return f"{place}[{step}]" if isinstance(step, int) else f"{place}.{step}" if place else str(step)


def _check(document: Any, place: str = "") -> None:
    """Refuse what pydantic does not: whole numbers that a float (and JavaScript) would round, and TOML's dates."""
    if isinstance(document, dict | list):
        for step, one in document.items() if isinstance(document, dict) else enumerate(document):
            _check(one, _inside(place, step))
    elif isinstance(document, int) and abs(document) >= 2**53:
        raise WrongJson(f"{place} is larger than 53 bits hold")
    elif not isinstance(document, str | float | int | None):
        raise WrongJson(f"{place} is {document}, which is no JSON")


def to_json(value: Any) -> Any:
    """The document of a dataclass."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def schema(kind: Any, title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of ``kind``."""
    found, definitions = _schemas({title: kind})
    return {"$schema": DRAFT, "title": title, **found[title], "$defs": definitions}


def one_of(kinds: Mapping[str, Any], title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of an object that holds one of these kinds by its name."""
    found, definitions = _schemas(kinds)
    objects = [
        {"type": "object", "properties": {name: one}, "required": [name], "additionalProperties": False}
        for name, one in found.items()
    ]
    return {"$schema": DRAFT, "title": title, "oneOf": objects, "$defs": definitions}


def _schemas(kinds: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema of each kind, and the definitions that they share."""
    from pydantic import TypeAdapter

    adapters = {name: _adapter(kind, has_descriptions=True) for name, kind in kinds.items()}
    held, shared = TypeAdapter.json_schemas([(name, "validation", adapter) for name, adapter in adapters.items()])
    definitions = shared["$defs"]
    for kind in kinds.values():
        _inherit(kind, definitions)
    return {name: held[name, "validation"]["additionalProperties"] for name in kinds}, definitions


def _inherit(kind: Any, definitions: dict[str, Any]) -> None:
    """Describe fields that a dataclass inherits: pydantic reads the docstrings of its own ones only."""
    for base in kind.__mro__[1:] if isinstance(kind, type) and is_dataclass(kind) else ():
        if is_dataclass(base):
            own = schema(base, "base")["$defs"][base.__name__]["properties"]
            for name, field in own.items():
                if "description" in field:
                    definitions[kind.__name__]["properties"][name].setdefault("description", field["description"])

"""Frozen dataclasses as strict JSON, and the JSON Schema that says the same.

Nothing is guessed: an unknown or missing field, a wrong type or an impossible number is refused with its place.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class WrongJson(ValueError):
    """A document that does not fit; the message begins with the place, such as ``parts.vision.file``."""


def from_json(kind: type[T], document: Any, place: str = "") -> T:
    """``document`` as a ``kind``. Raises WrongJson."""
    value: T = _read(kind, document, place)
    return value


def _read(kind: Any, document: Any, place: str) -> Any:
    if kind is Any:
        return document
    if is_dataclass(kind):
        return _read_object(kind, document, place)
    return READERS.get(get_origin(kind), _read_simple)(kind, document, place)


def _read_simple(kind: Any, document: Any, place: str) -> Any:
    if kind is float and type(document) is int and abs(document) < 2**53:
        return float(document)
    if type(document) is int and abs(document) >= 2**63:
        raise WrongJson(f"{place} is larger than 64 bits hold")
    if type(document) is not kind:
        raise WrongJson(f"{place} is {document!r:.60}, not {SIMPLE[kind]}")
    return document


def _read_union(kind: Any, document: Any, place: str) -> Any:
    options = get_args(kind)
    if type(document) in options:
        return document
    return _read(next(one for one in options if one is not type(None)), document, place)


def _read_literal(kind: Any, document: Any, place: str) -> Any:
    if not any(document == one and type(document) is type(one) for one in get_args(kind)):
        raise WrongJson(f"{place} is {document!r:.60}, not one of {', '.join(map(str, get_args(kind)))}")
    return document


def _read_tuple(kind: Any, document: Any, place: str) -> Any:
    if not isinstance(document, list):
        raise WrongJson(f"{place} is no list")
    return tuple(_read(get_args(kind)[0], one, f"{place}[{number}]") for number, one in enumerate(document))


def _read_dict(kind: Any, document: Any, place: str) -> Any:
    if not isinstance(document, dict):
        raise WrongJson(f"{place} is no object")
    return {key: _read(get_args(kind)[1], one, f"{place}.{key}") for key, one in document.items()}


READERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    Union: _read_union,
    types.UnionType: _read_union,
    Literal: _read_literal,
    tuple: _read_tuple,
    dict: _read_dict,
}
SIMPLE = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _read_object(kind: Any, document: Any, place: str) -> Any:
    if not isinstance(document, dict):
        raise WrongJson(f"{place or 'the document'} is no object")
    hints, known = get_type_hints(kind), {field.name: field for field in fields(kind)}
    inside = f"{place}." if place else ""
    unknown = sorted(set(document) - set(known))
    if unknown:
        raise WrongJson(f"{inside}{unknown[0]} is not known")
    missing = [name for name, field in known.items() if name not in document and _is_required(field)]
    if missing:
        raise WrongJson(f"{inside}{missing[0]} is missing")
    values = {name: _read(hints[name], one, inside + name) for name, one in document.items()}
    try:
        return kind(**values)
    except ValueError as error:  # what the dataclass itself asks for
        raise WrongJson(f"{inside}{error}") from error


def strict_json(text: str) -> Any:
    """The document in ``text``. Raises ValueError, also for NaN and Infinity, which are no JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def to_json(value: Any) -> Any:
    """The document of a dataclass."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_json(one) for one in value]
    if isinstance(value, dict):
        return {key: to_json(one) for key, one in value.items()}
    return value


def schema(kind: Any, title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of ``kind``."""
    definitions: dict[str, Any] = {}
    root = _schema(kind, definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **root, "$defs": definitions}


def one_of(kinds: Mapping[str, Any], title: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of an object with one of these names, and what that name is to hold."""
    definitions: dict[str, Any] = {}
    objects = [
        {
            "type": "object",
            "properties": {name: _schema(kind, definitions)},
            "required": [name],
            "additionalProperties": False,
        }
        for name, kind in kinds.items()
    ]
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": title, "oneOf": objects, "$defs": definitions}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}  # taken, should it hold itself
            hints = get_type_hints(kind)
            definitions[name] = {
                "type": "object",
                "description": (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "),
                "properties": {field.name: _schema(hints[field.name], definitions) for field in fields(kind)},
                "required": [field.name for field in fields(kind) if _is_required(field)],
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{name}"}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(one, definitions) for one in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _schema(inner[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(inner[1], definitions)}
    return {"type": SIMPLE[kind]}

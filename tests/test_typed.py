"""Documents are read strictly, and each is refused with the place of its fault."""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest

from phantom_edge.foundation.json_file import parse_json
from phantom_edge.foundation.typed import WrongJson, from_json, to_json


@dataclass(frozen=True)
class Leaf:
    """A part."""

    count: int
    share: float = 0.0
    note: str | None = None
    is_set: bool = False

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count is impossible")


@dataclass(frozen=True)
class Tree:
    """A whole."""

    version: Literal[2]
    leaves: dict[str, Leaf]
    shape: tuple[int | str, ...] = ()
    kind: Literal["a", "b"] = "a"


NESTED: list[Any] = []
for _ in range(5000):
    NESTED = [NESTED]

REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([], "the document is no object"),
    "unknown": ({"version": 2, "surprise": 1}, "surprise is not known"),
    "missing": ({"version": "2"}, "leaves is missing"),
    "missing inside": ({"version": 2, "leaves": {"x.data": {}}}, "leaves.x.data.count is missing"),
    "a text": ({"version": 2, "leaves": {"x": {"count": "1"}}}, "leaves.x.count is '1', not integer"),
    "truth as integer": ({"version": 2, "leaves": {"x": {"count": True}}}, "leaves.x.count is True, not integer"),
    "float as integer": ({"version": 2, "leaves": {"x": {"count": 1.0}}}, "leaves.x.count is 1.0, not integer"),
    "truth as number": (
        {"version": 2, "leaves": {"x": {"count": 1, "share": True}}},
        "leaves.x.share is True, not number",
    ),
    "integer as truth": (
        {"version": 2, "leaves": {"x": {"count": 1, "is_set": 1}}},
        "leaves.x.is_set is 1, not boolean",
    ),
    "a list as text": (
        {"version": 2, "leaves": {"x": {"count": 1, "note": ["n"]}}},
        "leaves.x.note is ['n'], not string",
    ),
    "what the class refuses": ({"version": 2, "leaves": {"x": {"count": -1}}}, "leaves.x.count is impossible"),
    "no such choice": ({"version": 2, "leaves": {}, "kind": "c"}, "kind is 'c', not 'a' or 'b'"),
    "truth as choice": ({"version": True, "leaves": {}}, "version is True, not 2"),
    "a branch of a union": ({"version": 2, "leaves": {}, "shape": [1, 2.5]}, "shape[1] is 2.5, not integer"),
    "no list": ({"version": 2, "leaves": {}, "shape": "ab"}, "shape is no list"),
    "a number that floats round": (
        {"version": 2, "leaves": {"x": {"count": 1, "share": 2**53}}},
        "leaves.x.share is larger than 53 bits hold",
    ),
    "a date of TOML": (
        {"version": 2, "leaves": {}, "kind": date(2026, 11, 30)},
        "kind is 2026-11-30, which is no JSON",
    ),
    "nested deeply": ({"version": 2, "leaves": {}, "shape": NESTED}, "the document is nested too deeply"),
    "half a letter": ({"version": 2, "leaves": {}, "shape": ["\ud800"]}, "the document cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_place_of_a_fault(name: str) -> None:
    document, said = REFUSED[name]
    with pytest.raises(WrongJson) as caught:
        from_json(Tree, document)
    assert str(caught.value).startswith(said)


def test_a_document_comes_back() -> None:
    tree = Tree(2, {"x.data": Leaf(1, 0.5, "n", True), "y": Leaf(2**53 - 1)}, (1, "n"), "b")
    assert from_json(Tree, parse_json(json.dumps(to_json(tree)))) == tree
    assert from_json(Leaf, {"count": 1, "share": 3}).share == 3.0


def test_a_place_comes_first() -> None:
    assert from_json(int, 3, "steps") == 3
    with pytest.raises(WrongJson, match=r"^steps is 'x', not integer$"):
        from_json(int, "x", "steps")
    with pytest.raises(WrongJson, match=r"^facts\.count is missing$"):
        from_json(Leaf, {}, "facts")


UNREADABLE: dict[str, tuple[str | bytes, str]] = {
    "cut": ("{", "Expecting property name"),
    "NaN": ('{"a": NaN}', "NaN is no JSON"),
    "infinite": ("[-Infinity]", "-Infinity is no JSON"),
    "too large": ("[1e999]", "1e999 is larger than any number can be"),
    "too deep": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "deep objects": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    "not UTF-8": (b"\xff\xfe{}", "utf-8"),
    "digits without end": ("9" * 5000, "digits"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_json_that_is_refused(name: str) -> None:
    text, complaint = UNREADABLE[name]
    with pytest.raises(ValueError, match=complaint):
        parse_json(text)


def test_json_with_a_mark_of_byte_order() -> None:
    assert parse_json('\ufeff{"a": 1.5}') == parse_json(b'\xef\xbb\xbf{"a": 1.5}') == {"a": 1.5}

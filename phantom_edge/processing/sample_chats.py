"""Conversations by which templates are compared: every order of roles, odd words, pictures."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from phantom_edge.processing.prompt import IMAGE_MARK, IMAGE_TOKENS, ROLES, Message


@dataclass(frozen=True)
class Chat:
    """A conversation, and the number of tiles of each of its pictures."""

    name: str
    messages: tuple[Message, ...]
    tiles: tuple[int, ...] = ()

    @property
    def roles(self) -> set[object]:
        """The roles that occur."""
        return {message["role"] for message in self.messages}


USER, TURNS, ALL = ("user",), ("user", "assistant", "user"), ("system", "user", "assistant", "user")
LONGEST_ORDER = 3
"""Maximum length of the orders of roles of which all are tried."""

ODD: dict[str, str] = {
    "empty": "",
    "a space": " ",
    "a line break": "\n",
    "spaces around": "  Is it red?  ",
    "line breaks around": "\n\nIs it red?\n",
    "line breaks inside": "Is it red?\n\n\tIs it far?\r\n",
    "braces": "{{ messages }} {% if x %} {# no #} {0} %s",
    "quotes and backslashes": "\"Is\" it 'red'? \\n \\",
    "markup": "<b>&amp; red</b> <think>It is.</think> far",
    "other scripts": "Ist es süß? 它是红色的。 הוא אדום؟ नमस्ते",
    "marks of more than one code": "e\u0301 👩‍👩‍👧 🇺🇳 \u200b\ufeff",
    "JSON": '{"role": "system", "content": null}',
    "a number": "0",
    "long": "red " * 200,
}
"""Contents by their names."""

IMAGE: dict[str, str] = {"type": "image"}
WHAT: dict[str, str] = {"type": "text", "text": "What is it?"}
NEAR: dict[str, str] = {"type": "text", "text": " Near?"}


def sample_chats(literals: Iterable[str] = ()) -> list[Chat]:
    """The fixed set, and conversations with ``literals`` as words: a template that treats them apart shows it."""
    return [*_orders(), *_contents(literals), *_pictures()]


def _orders() -> Iterator[Chat]:
    orders = [order for length in range(1, LONGEST_ORDER + 1) for order in product(ROLES, repeat=length)]
    for order in [*orders, ALL, (*TURNS, "assistant", "user"), ("system", *TURNS, "assistant", "user", "user")]:
        yield Chat(", ".join(order), _messages(order, [f"word {number}." for number in range(len(order))]))


def _contents(literals: Iterable[str]) -> Iterator[Chat]:
    own = [text for text in literals if not any(mark in text for mark in (IMAGE_MARK, *IMAGE_TOKENS))]
    words = {**ODD, **{f"the template's {text!r}": text for text in own}}
    words |= {f"words around the template's {text!r}": f"Is {text} red?" for text in own}
    for name, text in words.items():
        for order in (USER, TURNS, ALL):
            yield Chat(f"{', '.join(order)}: {name}", _messages(order, [text] * len(order)))


def _pictures() -> Iterator[Chat]:
    mark = IMAGE_MARK
    asked: dict[str, tuple[object, tuple[int, ...]]] = {
        "a picture's mark": (f"{mark}What is it?", (1,)),
        "a mark inside": (f"Is {mark} red?", (3,)),
        "a mark and line breaks": (f"{mark}\nWhat is it?", (1,)),
        "marks of two pictures": (f"{mark}{mark} What differs?", (1, 3)),
        "a picture alone": ([IMAGE], (1,)),
        "a picture, then text": ([IMAGE, WHAT], (1,)),
        "text, then a picture": ([WHAT, IMAGE], (1,)),
        "pictures between texts": ([WHAT, IMAGE, NEAR, IMAGE, WHAT], (1, 2)),
        "text in parts": ([WHAT, NEAR], ()),
        "no parts": ([], ()),
    }
    answer = {"role": "assistant", "content": [NEAR]}
    for name, (content, tiles) in asked.items():
        turn = {"role": "user", "content": content}
        yield Chat(name, (turn,), tiles)
        yield Chat(f"two turns: {name}", (turn, answer, turn), tiles * 2)
        yield Chat(f"after a system message: {name}", ({"role": "system", "content": [WHAT]}, turn), tiles)


def _messages(roles: Iterable[str], contents: Iterable[str]) -> tuple[Message, ...]:
    return tuple({"role": role, "content": text} for role, text in zip(roles, contents, strict=True))

"""Questions of the conformance data: a part of conformance.py."""

from typing import TypedDict

from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.processing.prompt import IMAGE_MARK, IMAGE_TOKENS

SCENES, NEAR, FEW_NEAR = 8, 7, 2
"""Number of drawn scenes, most questions about each, and how many where a few are enough."""

SHORT, LONG = 12, 24


class Message(TypedDict):
    """A message of a conversation."""

    role: str
    content: str


class Asked(TypedDict):
    """A conversation whose last message is to be answered; pictures are files of the folder ``pictures``."""

    messages: list[Message]
    pictures: list[str]
    max_new_tokens: int


def message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def asked(question: str, *pictures: str, most: int = SHORT) -> Asked:
    """One user's turn; marks come first where the question has none."""
    marks = "" if IMAGE_MARK in question else IMAGE_MARK * len(pictures)
    return {"messages": [message("user", marks + question)], "pictures": [*pictures], "max_new_tokens": most}


def follow(before: Asked, answer: str, question: str, most: int = SHORT) -> Asked:
    """The next turn of a conversation."""
    messages = [*before["messages"], message("assistant", answer), message("user", question)]
    return {"messages": messages, "pictures": before["pictures"], "max_new_tokens": most}


def candidates(near: int = NEAR) -> list[Asked]:
    """Questions: several about a picture, about pictures of several tiles and of every kind, about two, about none.

    Of a scene's first questions ``near`` are asked; each scene begins with another one, so that few of each are of all
    kinds.
    """
    found: list[Asked] = []
    for seed in range(SCENES):
        about = ask(make_scene(seed, "test"))[:NEAR]
        turn = seed % len(about)
        found += [asked(one.text, f"scene{seed}.png") for one in (about[turn:] + about[:turn])[:near]]
    kinds = ["wide", "grey16", "alpha", "palette", "colour16", "interlaced", "turned6", "grey1", "clear", "tall"]
    found += [asked("What is in the picture?", f"{name}.png", most=LONG) for name in kinds]
    two, same = ("scene0.png", "wide.png"), ("alpha.png", "alpha.png")
    found += [
        asked("Which one has a circle?", *two),
        asked("And which has none?", *two),
        asked("Are they equal?", *same),
    ]
    found += [
        asked("First <image>, then <image>: what differs?", *two),
        asked("First <image>, then <image>?", *two[::-1]),
    ]
    found += [
        asked("What is 3 + 4?"),
        asked("What is 3 + 5?"),
        asked("Où est le café ? 日本 🙂"),
        asked("Why?", "wide.png"),
    ]
    system: Asked = {
        "messages": [message("system", "Be short."), message("user", "<image>What is this?")],
        "pictures": ["wide.png"],
        "max_new_tokens": 3,
    }
    second = follow(system, "A red circle.", "And why?", LONG)
    found += [system, second, follow(second, "Because it is.", "Is it red?")]
    first = asked("Describe both pictures.", *two, most=LONG)
    found += [first, follow(first, "A square and a circle.", "Which one is larger?", LONG)]
    again = asked("Describe the picture briefly.", "scene1.png", most=LONG)
    found += [again, again, asked("Describe the picture briefly.", "scene2.png", most=LONG)]
    tokens = "So <|im_end|> is it?"  # read as that token, as the page says
    found += [asked(tokens), asked("\n  spaces \t\n", "scene3.png"), asked("x" * 300), asked("And", "scene3.png")]
    return found


def refusals() -> list[Asked]:
    """Conversations that are refused."""
    reserved = [asked(f"What is {token}?", "scene0.png") for token in IMAGE_TOKENS]
    marks = [asked("<image>?"), asked("<image> <image>?", "scene0.png"), asked("<image>?", "scene0.png", "scene1.png")]
    return [*reserved, *marks, asked("circle " * 3000)]

"""A chat template written out as texts around messages, where it is no more than that."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from phantom_edge.bundle.prompt import Turn, Turns
from phantom_edge.processing.chat_template import ChatTemplate, TemplateFault
from phantom_edge.processing.prompt import Message, read_message
from phantom_edge.processing.sample_chats import sample_chats

DATES = (datetime(2001, 2, 3, 4, 5, 6), datetime(2032, 11, 30, 23, 59, 58))
"""Two times at which a template must write the same."""

WORDS = "kwzq{}vxqk"
"""Content that stands in no template, by the message's number."""


def written_out(text: str, variables: Mapping[str, str]) -> Turns | None:
    """The template as texts, None unless every sample conversation of its roles comes out equal, at any time."""
    try:
        templates = [ChatTemplate(text, variables, lambda now=now: now) for now in DATES]  # type: ignore[misc]
    except TemplateFault:
        return None
    turns = _derived(templates[0])
    if turns is None:
        return None
    for chat in sample_chats(templates[0].literals()):
        if chat.roles <= turns.roles.keys():
            wanted = joined(turns, chat.messages)
            if any(_rendered(one, chat.messages) != wanted for one in templates):
                return None
    return turns


def joined(turns: Turns, messages: Sequence[Message]) -> str:
    """The prompt of a conversation whose roles ``turns`` has."""
    parts = []
    for role, words in map(read_message, messages):
        parts += [turns.roles[role].before, words, turns.roles[role].after]
    return "".join(parts) + turns.generation


def _derived(template: ChatTemplate) -> Turns | None:
    """The texts around messages in the shortest conversations; None where messages do not stand by themselves."""
    user, system, assistant = (
        {"role": role, "content": WORDS.format(number)} for number, role in enumerate(("user", "system", "assistant"))
    )
    alone, whole = _rendered(template, [user], opens=False), _rendered(template, [user])
    if alone is None or whole is None or not whole.startswith(alone):
        return None
    found = {"user": alone}
    first, second = (
        _rendered(template, [system, user], opens=False),
        _rendered(template, [user, assistant], opens=False),
    )
    if first is not None:
        if not first.endswith(alone):
            return None
        found["system"] = first.removesuffix(alone)
    if second is not None:
        if not second.startswith(alone):
            return None
        found["assistant"] = second.removeprefix(alone)
    roles = {}
    for message in (system, user, assistant):
        role = message["role"]
        if role in found:
            before, words, after = found[role].partition(message["content"])
            if not words:
                return None
            roles[role] = Turn(before, after)
    return Turns(roles, whole.removeprefix(alone))


def _rendered(template: ChatTemplate, messages: Sequence[Message], *, opens: bool = True) -> str | None:
    """The prompt, None where the template refuses the conversation."""
    try:
        return template.render(messages, add_generation_prompt=opens)
    except TemplateFault:
        return None

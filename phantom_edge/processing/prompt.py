"""Prompt text: chat turns, and the tokens in a picture's place. Pure Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phantom_edge.foundation.errors import EdgeError

IMAGE_MARK = "<image>"
"""Mark that a user writes in place of a picture; not a token of the model."""

IMAGE_START = "<img>"
IMAGE_CONTEXT = "<IMG_CONTEXT>"
IMAGE_END = "</img>"
IMAGE_TOKENS = (IMAGE_START, IMAGE_CONTEXT, IMAGE_END)

ROLES = ("system", "user", "assistant")

Message = Mapping[str, object]
"""``{"role": ..., "content": text or a list of {"type": "image"} and {"type": "text", "text": ...}}``."""


@dataclass(frozen=True)
class ChatStyle:
    """Format of one turn: ``before_role``, the role's name, ``after_role``, the words, ``end``.

    There is nothing between two turns, and no BOS. ``tokens`` must be single tokens of the model: the one that
    starts a user's turn (the sentinel of every prompt without system message), the others, last the one that ends a
    turn and at which generation stops. Source: ``prompt_rule`` of the released models.
    """

    before_role: str
    after_role: str
    end: str
    tokens: tuple[str, ...]

    def opening(self, role: str) -> str:
        """Text that starts a turn of ``role``."""
        return self.before_role + role + self.after_role

    def jinja(self) -> str:
        """The same style as a chat template, for everything that renders Jinja (transformers, the apps)."""
        before, after, end = (
            "'" + part.replace("\n", "\\n") + "'" for part in (self.before_role, self.after_role, self.end)
        )
        return (
            "{%- for message in messages -%}"
            f"{{{{ {before} + message['role'] + {after} }}}}"
            "{%- if message['content'] is string -%}"
            "{{ message['content'] }}"
            "{%- else -%}"
            "{%- for part in message['content'] -%}"
            f"{{{{ '{IMAGE_MARK}' if part['type'] == 'image' else part['text'] }}}}"
            "{%- endfor -%}"
            "{%- endif -%}"
            f"{{{{ {end} }}}}"
            "{%- endfor -%}"
            f"{{%- if add_generation_prompt -%}}{{{{ {before} + 'assistant' + {after} }}}}{{%- endif -%}}"
        )


STYLES = {
    "chatml": ChatStyle("<|im_start|>", "\n", "<|im_end|>", ("<|im_start|>", "<|im_end|>")),
    "phi3": ChatStyle("<|", "|>\n", "<|end|>", ("<|user|>", "<|assistant|>", "<|end|>")),
}
CHAT_TEMPLATES = {name: style.jinja() for name, style in STYLES.items()}


def render(style: str, messages: Sequence[Message], add_generation_prompt: bool = False) -> str:
    """The prompt of a conversation, letter by letter what the Jinja template of ``style`` gives.

    Raises EdgeError for an unknown style, role or part, and for words that would pass as image tokens.
    """
    if style not in STYLES:
        raise EdgeError(f"there is no prompt style '{style}'", f"choose one of: {', '.join(STYLES)}")
    if not messages:
        raise EdgeError("the conversation is empty", 'pass at least {"role": "user", "content": "..."}')
    chat = STYLES[style]
    turns = [chat.opening(role) + words + chat.end for role, words in map(read_message, messages)]
    return "".join(turns) + (chat.opening("assistant") if add_generation_prompt else "")


def read_message(message: object) -> tuple[str, str]:
    """A message's role and words, an image part as its mark. Raises EdgeError for one that no template can write."""
    if not isinstance(message, Mapping):
        raise EdgeError(f"a message is a {type(message).__name__}", 'write {"role": "user", "content": "..."}')
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise EdgeError(f"a message has the role {role!r}", f"choose one of: {', '.join(ROLES)}")
    if isinstance(content, str):
        parts = [content]
    elif isinstance(content, Sequence):
        parts = [_read_part(part) for part in content]
    else:
        raise EdgeError(f"the {role} message has no content", "give it a text, or a list of image and text parts")
    words = "".join(parts)
    refuse_image_tokens(words)
    return role, words


def _read_part(part: object) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "image":
        return IMAGE_MARK
    text = part.get("text") if isinstance(part, Mapping) and kind == "text" else None
    if not isinstance(text, str):
        raise EdgeError(
            f"a message part is neither image nor text: {str(part)[:60]}",
            'write {"type": "image", "image": "photo.jpg"} or {"type": "text", "text": "..."}',
        )
    return text


def refuse_image_tokens(text: str) -> None:
    """Raises EdgeError if a text contains the tokens that only :func:`expand` may write."""
    for token in IMAGE_TOKENS:
        if token in text:
            raise EdgeError(f"the text contains the reserved token {token}", f"write {IMAGE_MARK} where a picture goes")


def check_marks(text: str, images: int, where: str = "the text") -> None:
    """Raises EdgeError unless ``text`` has exactly one mark for each of ``images`` pictures."""
    marks = text.count(IMAGE_MARK)
    if marks == images:
        return
    remedy = f"write one {IMAGE_MARK} for every picture, in order"
    if not images:
        remedy = f"pass the pictures with images=..., or remove {IMAGE_MARK} from the text"
    raise EdgeError(f"{where}: {marks} {IMAGE_MARK} marks, but {images} pictures", remedy)


def expand(text: str, tiles_per_image: Sequence[int], tokens_per_tile: int) -> str:
    """Replaces each mark by ``<img>``, one ``<IMG_CONTEXT>`` per token of its picture, and ``</img>``.

    Raises EdgeError when marks and pictures differ in number, or the text has image tokens of its own.
    Source: ``eval_process`` of the released models (there every mark gets the tokens of all pictures at once).
    """
    refuse_image_tokens(text)
    check_marks(text, len(tiles_per_image))
    first, *rest = text.split(IMAGE_MARK)
    pieces = [first]
    for tiles, after in zip(tiles_per_image, rest, strict=True):
        pieces += [IMAGE_START, IMAGE_CONTEXT * (tiles * tokens_per_tile), IMAGE_END, after]
    return "".join(pieces)

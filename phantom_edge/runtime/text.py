"""Conversations to token ids and back, with the bundle's own tokenizer and chat template."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.bundle.prompt import Prompt
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.chat_template import ChatTemplate, TemplateFault
from phantom_edge.processing.prompt import IMAGE_MARK, Message, expand, read_message
from phantom_edge.processing.tokenizer_faults import PROBE, one_line_faults
from phantom_edge.runtime.engine import Ints


class Text:
    """Tokenizer and chat template of one bundle. Pictures come first unless ``<image>`` marks place them."""

    def __init__(self, prompt: Prompt, tokenizer: Path, template: Path) -> None:
        self.prompt = prompt
        try:
            with one_line_faults():
                self.tokenizer = Tokenizer.from_file(str(tokenizer))
                self.tokenizer.encode(PROBE)
        except ValueError as error:
            raise EdgeError(f"{tokenizer} is no tokenizer ({error})", AGAIN) from error
        try:
            self.template = ChatTemplate(template.read_text(encoding="utf-8"), prompt.variables)
        except (ValueError, OSError, TemplateFault) as error:
            raise EdgeError(f"{template} is no chat template ({error})", AGAIN) from error

    def ids(self, messages: Sequence[Message], tiles_per_image: Sequence[int], tokens_per_tile: int) -> Ints:
        """Token ids (N,) of a conversation that the assistant is to go on with.

        Raises EdgeError where marks and pictures differ in number, or the prompt begins with another token than the
        one folded into the graph.
        """
        text = self.rendered(messages)
        encoded = self.tokenizer.encode(expand(text, tiles_per_image, tokens_per_tile), add_special_tokens=False)
        ids = np.array(encoded.ids, np.int64)
        if list(ids[:1]) != [self.prompt.first_token]:
            found = self.tokenizer.id_to_token(int(ids[0])) if len(ids) else ""
            wanted = self.tokenizer.id_to_token(self.prompt.first_token)
            raise EdgeError(
                f"the prompt begins with {found!r}, this bundle was made for prompts that begin with {wanted!r}",
                "begin with the message of a user",
            )
        return ids

    def rendered(self, messages: Sequence[Message]) -> str:
        """The prompt's text, in which pictures are marks. Raises EdgeError for messages that no template can write."""
        for message in messages:
            read_message(message)
        try:
            return self.template.render(messages)
        except TemplateFault as error:
            raise EdgeError(
                f"the chat template cannot write this conversation ({error})", "use plain messages"
            ) from error


PARTIAL = "\ufffd"
"""Last character of a text that ends within a letter."""


class Streamed:
    """Text of an answer that grows token by token, in pieces of whole letters.

    All tokens are decoded each time: with byte fallback, a letter may still change when more bytes come.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.text = ""
        self.shown = 0  # characters

    def add(self, token: int) -> str:
        """The piece that the token completes, empty where the text ends within a letter."""
        self.ids.append(token)
        self.text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
        return "" if self.text.endswith(PARTIAL) else self.rest()

    def rest(self) -> str:
        """The text beyond the pieces so far."""
        piece = self.text[self.shown :]
        self.shown = max(self.shown, len(self.text))
        return piece


def question_of(question: str, images: int) -> list[Message]:
    """One user's turn. Raises EdgeError for an empty question."""
    if not question.strip():
        raise EdgeError("the question is empty", 'ask something, such as "What is in the picture?"')
    marks = "" if IMAGE_MARK in question else IMAGE_MARK * images
    return [{"role": "user", "content": marks + question}]

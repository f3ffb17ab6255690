"""Prompts of a bundle against its checkpoint's: the same token ids, or both refuse. Takes seconds, so always runs."""

from pathlib import Path
from tempfile import TemporaryDirectory

from phantom_edge.bundle.prompt import Prompt
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.chat_template import ChatTemplate, TemplateFault
from phantom_edge.processing.sample_chats import Chat, sample_chats
from phantom_edge.runtime.text import Text

TOKENIZER, TEMPLATE = "tokenizer.json", "chat_template.jinja"
"""Files of a bundle."""

REMEDY = "write it otherwise in the checkpoint's chat_template.jinja"


def write_words(source: Source, folder: Path) -> None:
    """Writes tokenizer and chat template of a bundle."""
    source.processor.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))
    (folder / TEMPLATE).write_text(source.processor.chat_template, encoding="utf-8")


def checked_prompt(source: Source) -> Prompt:
    """Tokenization settings of a checkpoint's bundle.

    Raises EdgeError for ids that the model lacks, and where the bundle would read a conversation otherwise than the
    checkpoint does.
    """
    source.check_ids()
    prompt, template = source.prompt(TOKENIZER, TEMPLATE), source.processor.chat_template
    try:
        literals = ChatTemplate(template, prompt.variables).literals()
    except TemplateFault as fault:
        raise EdgeError(f"a bundle cannot render the chat template of {source.folder}: {fault}", REMEDY) from fault
    with TemporaryDirectory() as scratch:
        write_words(source, Path(scratch))
        text = Text(prompt, Path(scratch, TOKENIZER), Path(scratch, TEMPLATE))
        for chat in sample_chats(literals):
            _compare(source, text, chat)
    return prompt


def _compare(source: Source, text: Text, chat: Chat) -> None:
    """Raises EdgeError unless both read a conversation alike, or both refuse it."""
    tokens, why = source.processor.tokens_per_tile, ""
    found: list[int] | None = None
    try:
        found = text.ids(chat.messages, chat.tiles, tokens).tolist()
    except EdgeError as error:
        why = error.problem
    # the second reading is for a clock that moved on in between
    if found in (wanted := _wanted(source, text, chat), _wanted(source, text, chat)):
        return
    about = f"the conversation '{chat.name}'"
    if found is None:
        raise EdgeError(f"a bundle of {source.folder} cannot read {about}, its checkpoint can: {why}", REMEDY)
    if wanted is None:
        raise EdgeError(f"a bundle of {source.folder} would read {about}, which its checkpoint refuses", REMEDY)
    raise EdgeError(f"a bundle of {source.folder} would make other tokens of {about} than its checkpoint", REMEDY)


def _wanted(source: Source, text: Text, chat: Chat) -> list[int] | None:
    """The checkpoint's ids; None where it refuses, or begins with another token than the one folded into graphs."""
    try:
        ids = source.words(chat.messages, chat.tiles)
    except EdgeError:
        return None
    return ids if ids[:1] == [text.prompt.first_token] else None

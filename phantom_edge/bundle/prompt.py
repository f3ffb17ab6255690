"""From a conversation to token ids, and the settings by which a next token is chosen."""

from dataclasses import dataclass

from phantom_edge.bundle.numbers import MOST_CONTEXT, check_rules

LEAST_PENALTY, MOST_PENALTY = 1e-6, 1e6
"""Limits of a repetition penalty: any logit stays far inside float32."""


@dataclass(frozen=True)
class ImageMarks:
    """Texts in a picture's place."""

    mark: str
    """Text that a user writes in place of a picture; it is no token of the model."""
    start: str
    """Text before a picture's image tokens."""
    context: str
    """Text of one image token, ``prompt.image_token``. A picture has tiles * tokens_per_tile of them."""
    end: str
    """Text behind a picture's image tokens."""


@dataclass(frozen=True)
class Turn:
    """Texts around the content of a role's message."""

    before: str
    """Text before the content."""
    after: str
    """Text behind the content."""


@dataclass(frozen=True)
class Turns:
    """The chat template written out: a prompt is every message between its role's texts, and then ``generation``."""

    roles: dict[str, Turn]
    """Texts by role: system, user, assistant."""
    generation: str
    """Text that opens the assistant's answer."""


@dataclass(frozen=True)
class Prompt:
    """Tokenization. Every prompt begins with ``first_token``, which is folded into the graphs.

    The rendered template is split at ``images.mark``; each mark becomes ``start``, ``context`` once per image token of
    its picture, and ``end``. The result is encoded without special tokens added. Text of users that contains one of
    ``reserved`` is refused.
    """

    tokenizer: str
    """File of the tokenizer, in the format of Hugging Face's tokenizers."""
    chat_template: str
    """File of the chat template, for Jinja with ``trim_blocks`` and ``lstrip_blocks``. It is rendered with
    ``messages``, ``add_generation_prompt`` true, ``tools`` and ``documents`` null, and ``variables``. As in
    transformers, it may use ``break`` and ``continue``, ``{% generation %}`` (only its body is rendered),
    ``raise_exception(text)`` (refuses the conversation), ``strftime_now(format)`` (local time), and a ``tojson`` that
    escapes nothing for HTML."""
    first_token: int
    """Token id with which every prompt begins. Its effect on later tokens is a constant of the graphs, so a prompt
    with another first token is refused. The token itself is fed like any other, at position 0."""
    image_token: int
    """Token id of ``images.context``: the embeddings at its places are replaced by image tokens."""
    stop_tokens: tuple[int, ...]
    """Token ids each of which ends an answer; the one that ends it is not part of its text."""
    images: ImageMarks
    """Texts and token ids around pictures."""
    reserved: tuple[str, ...]
    """Texts that no message may contain."""
    special_tokens: dict[str, int]
    """Special tokens by their texts. A message that contains such a text would be read as that token; answers are
    decoded without them."""
    variables: dict[str, str]
    """Variables of the chat template: texts of the tokenizer's named tokens, such as ``bos_token``."""
    turns: Turns | None = None
    """The chat template written out, for apps without Jinja. Image parts of a message are written as ``images.mark``;
    a role that is not listed is refused. Null where the template is more than texts around messages."""

    def __post_init__(self) -> None:
        check_rules(
            stop_tokens=bool(self.stop_tokens),
            image_marks=all((self.images.mark, self.images.start, self.images.context, self.images.end)),
        )


@dataclass(frozen=True)
class Generation:
    """The checkpoint's settings for choosing tokens, applied to the logits in this order, before sampling.

    A banned token gets the logit minus infinity. Where all tokens are banned there is no answer: an error.
    """

    repetition_penalty: float = 1.0
    """Factor on the logits of every token of prompt and answer, a pure number: a positive logit is divided by it, a
    negative one multiplied, in float32 and once however often the token occurs. Image tokens count as tokens. 1 changes
    nothing."""
    no_repeat_ngram: int = 0
    """Length, in tokens, of sequences that must not occur twice in prompt and answer: a token that would complete such
    a sequence gets the logit minus infinity. 0 allows all."""
    min_length: int = 0
    """Least number of tokens of prompt and answer together before a stop token may follow."""
    min_new_tokens: int = 0
    """Least number of tokens of an answer before a stop token may follow."""
    suppress_tokens: tuple[int, ...] = ()
    """Token ids that never occur in an answer."""
    begin_suppress_tokens: tuple[int, ...] = ()
    """Token ids with which an answer must not begin."""

    def __post_init__(self) -> None:
        check_rules(
            repetition_penalty=LEAST_PENALTY <= self.repetition_penalty <= MOST_PENALTY,
            no_repeat_ngram=0 <= self.no_repeat_ngram <= MOST_CONTEXT,
            min_length=0 <= self.min_length <= MOST_CONTEXT,
            min_new_tokens=0 <= self.min_new_tokens <= MOST_CONTEXT,
            suppress_tokens=all(token >= 0 for token in (*self.suppress_tokens, *self.begin_suppress_tokens)),
        )

    @property
    def is_plain(self) -> bool:
        """True where nothing changes the logits."""
        return self == Generation()

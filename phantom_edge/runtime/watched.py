"""Runs of a session under watch: what it gives its engine, and what the engine computes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from phantom_edge.processing.images import ImageSource
from phantom_edge.runtime.constraints import Constraint, Tokens, unchanged
from phantom_edge.runtime.engine import Engine, Floats, Ints
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session
from phantom_edge.runtime.text import question_of


@dataclass(frozen=True)
class Seen:
    """A picture as the engine got it, tiles (T, 3, S, S), and its image tokens (T * tokens_per_tile, hidden)."""

    pixels: Floats
    tokens: Floats


@dataclass(frozen=True)
class Run:
    """A question that was answered: prompt, pictures that were encoded for it, logits and choice of every step.

    ``answer`` has the tokens that were fed, ``choices`` those that the session would have taken. ``logits`` (steps,
    vocab) are the engine's own.
    """

    prompt: str
    ids: Ints
    seen: tuple[Seen, ...]
    logits: Floats
    choices: tuple[int, ...]
    pieces: tuple[str, ...]
    answer: Answer


class WatchedEngine:
    """An engine that remembers the pictures, the tokens and the logits of one question."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seen: list[Seen] = []
        self.ids: list[Ints] = []
        self.logits: list[Floats] = []

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine."""
        tokens = self.engine.encode_images(pixel_values)
        self.seen.append(Seen(pixel_values, tokens))
        return tokens

    def embed(self, ids: Ints) -> Floats:
        """See Engine."""
        self.ids.append(ids)
        return self.engine.embed(ids)

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        logits = self.engine.forward(embeds, start, keep)
        if len(keep):
            self.logits.append(logits[-1].copy())
        return logits


@dataclass(frozen=True)
class Forced(Sampling):
    """Feeds ``ids`` whatever is chosen, as far as there are any; ``choices`` are kept."""

    ids: tuple[int, ...] = ()
    choices: list[int] = field(default_factory=list)

    def chooser(self, constrain: Constraint = unchanged) -> Callable[[Tokens, NDArray[np.float32]], int]:
        """See Sampling."""
        choose = super().chooser(constrain)

        def forced(ids: Tokens, logits: NDArray[np.float32]) -> int:
            token = choose(ids, logits)
            self.choices.append(token)
            place = len(self.choices) - 1
            return self.ids[place] if place < len(self.ids) else token

        return forced


def forget(session: Session) -> None:
    """Empty a session's cache, and its memory of pictures."""
    session.cached = []
    session.image_tokens.clear()


def watch(session: Session, question: str, images: Sequence[ImageSource], most: int, forced: Sequence[int] = ()) -> Run:
    """Ask a question, greedily, as every caller does: at most ``most`` tokens, and first those that are ``forced``.

    Raises EdgeError as ``Session.ask``.
    """
    watched, own = WatchedEngine(session.engine), session.engine
    sampling, answer = Forced(max_new_tokens=most, ids=tuple(forced)), Answer()
    prompt = session.text.rendered(question_of(question, len(images)))
    session.engine = watched
    try:
        pieces = tuple(session.ask(question, images, sampling, answer))
    finally:
        session.engine = own
    return Run(
        prompt=prompt,
        ids=watched.ids[0],
        seen=tuple(watched.seen),
        logits=np.stack(watched.logits),
        choices=tuple(sampling.choices),
        pieces=pieces,
        answer=answer,
    )

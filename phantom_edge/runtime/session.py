"""Questions to a bundle: the loop that all targets share.

The prefix that a new prompt shares with the last one is in the cache already and is not computed again; so a second
question about a picture costs its own words only, and a system prompt is read once.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import DRAFT
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.processing.images import ImageSource, open_image
from phantom_edge.processing.prompt import Message
from phantom_edge.processing.tiling import Tiling, to_pixel_values
from phantom_edge.processing.token_ids import check_ids
from phantom_edge.runtime.constraints import constraint
from phantom_edge.runtime.drafting import AFTER, Decoding, Drafted
from phantom_edge.runtime.engine import Engine, Floats, Ints
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.text import Streamed, Text, question_of

Trace = Callable[[str], AbstractContextManager[object]]
"""Entered around each stage of an answer: preprocess, words, vision, prefill, decode, choose."""


def untraced(_stage: str) -> AbstractContextManager[object]:
    """Ignores the stages."""
    return nullcontext()


REMEMBERED = 8
"""Number of pictures whose image tokens are kept."""


@dataclass
class Answer:
    """Result of a generation, complete when it ends. ``reused_tokens`` of the prompt were in the cache already."""

    text: str = ""
    ids: list[int] = field(default_factory=list)
    prompt_tokens: int = 0
    reused_tokens: int = 0
    vision_seconds: float = 0.0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    stopped_by: str = "interrupted"
    drafted: Drafted = field(default_factory=Drafted)

    @property
    def tokens(self) -> int:
        """Length of the answer, tokens."""
        return len(self.ids)

    @property
    def seconds(self) -> float:
        """Time from the question to the last token."""
        return self.seconds_to_first_token + self.decode_seconds

    @property
    def seconds_to_first_token(self) -> float:
        """Time for pictures and prompt."""
        return self.vision_seconds + self.prefill_seconds

    @property
    def tokens_per_second(self) -> float:
        """Decode speed, of the tokens after the first."""
        return (self.tokens - 1) / self.decode_seconds if self.decode_seconds else 0.0


class Session:
    """A bundle, loaded into an ``engine``, with one conversation in its cache at a time.

    ``is_drafting``: long answers are drafted, where the bundle has a draft layer; it may be changed between questions.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        manifest = bundle.manifest
        self.bundle, self.manifest = bundle, manifest
        self.engine: Engine = engine
        prompt, pictures = manifest.prompt, manifest.pictures
        self.text = Text(prompt, bundle.file(prompt.tokenizer), bundle.file(prompt.chat_template))
        self.tiling = Tiling(
            pictures.tile_size,
            pictures.min_tiles,
            pictures.max_tiles,
            pictures.thumbnail,
            mean=pictures.mean,
            std=pictures.std,
        )
        self.image_tokens: dict[bytes, Floats] = {}  # by the pictures' digests
        self.questions = 0  # an older answer cannot continue: its tokens are no longer in the cache
        self.cached: list[tuple[int, bytes]] = []  # each position of the cache: token, picture's digest
        self.trace: Trace = untraced
        self.is_drafting = DRAFT in manifest.parts

    def ask(
        self,
        question: str,
        images: Sequence[ImageSource] = (),
        sampling: Sampling | None = None,
        answer: Answer | None = None,
    ) -> Iterator[str]:
        """The answer to one question, piece by piece; see ``generate``."""
        return self.generate(question_of(question, len(images)), images, sampling, answer)

    def generate(
        self,
        messages: Sequence[Message],
        images: Sequence[ImageSource] = (),
        sampling: Sampling | None = None,
        answer: Answer | None = None,
    ) -> Iterator[str]:
        """Yield the answer's text piece by piece; ``answer`` is filled as it goes.

        Raises EdgeError for pictures that cannot be read, marks that do not match them, token ids beyond
        the embedding, or a prompt that leaves no room in the cache.
        """
        if isinstance(images, str | bytes | Path):
            raise EdgeError("images is one picture, not a list", "put it into a list: [picture]")
        sampling, answer = sampling or Sampling(), answer if answer is not None else Answer()
        start = time.perf_counter()
        with self.trace("preprocess"):
            pixels = [to_pixel_values(open_image(image), self.tiling) for image in images]
        tiles = [len(one) for one in pixels]
        with self.trace("words"):
            ids = self.text.ids(messages, tiles, self.manifest.pictures.tokens_per_tile)
            check_ids(ids.tolist(), self.manifest.model.vocab_size, self.text.tokenizer.id_to_token)
        self._check_room(len(ids))
        answer.prompt_tokens = len(ids)
        with self.trace("preprocess"):
            digests = [hashlib.sha256(one.tobytes()).digest() for one in pixels]
        with self.trace("vision"):
            encoded = [self._encode(one, digest) for one, digest in zip(pixels, digests, strict=True)]
        answer.vision_seconds = time.perf_counter() - start
        self.questions += 1
        with self.trace("prefill"):
            logits = self._prefill(ids, digests, encoded, answer)
        answer.prefill_seconds = time.perf_counter() - start - answer.vision_seconds
        yield from self._decode(ids, logits, sampling, answer)

    def _check_room(self, tokens: int) -> None:
        room = self.manifest.cache.max_context
        if tokens >= room:
            raise EdgeError(
                f"the prompt has {tokens:,} tokens, this bundle holds {room:,}",
                "ask less, give fewer pictures, or export with a larger --max-context",
            )

    def _encode(self, pixels: Floats, digest: bytes) -> Floats:
        """Image tokens of a picture, kept for the next questions; the least recently used ones are dropped."""
        tokens = self.image_tokens.pop(digest, None)
        if tokens is None:
            tokens = self.engine.encode_images(pixels)
            if len(tokens) != len(pixels) * self.manifest.pictures.tokens_per_tile:
                raise EdgeError(
                    f"this bundle makes {len(tokens)} tokens of {len(pixels)} tiles, which its manifest contradicts",
                    "export it again: phantom-edge export",
                )
        self.image_tokens[digest] = tokens
        while len(self.image_tokens) > REMEMBERED:
            self.image_tokens.pop(next(iter(self.image_tokens)))
        return tokens

    def _prefill(
        self, ids: Ints, digests: Sequence[bytes], encoded: Sequence[Floats], answer: Answer
    ) -> NDArray[np.float32]:
        """Compute the prompt into the cache. Returns logits (vocab,) of its last token."""
        holds, embeds = self._rows(ids, digests, encoded)
        same = 0
        while same < min(len(self.cached), len(holds) - 1) and self.cached[same] == holds[same]:
            same += 1
        answer.reused_tokens = same
        self.cached = holds[:same]
        logits = np.zeros(0, np.float32)
        chunk = self.manifest.prefill_chunk
        for start in range(same, len(ids), chunk):
            part = embeds[start : start + chunk]
            is_last = start + chunk >= len(ids)
            keep = np.array([len(part) - 1] if is_last else [], np.int64)
            found = self.engine.forward(part, start, keep)
            self.cached = holds[: start + len(part)]
            if is_last:
                logits = found[0]
        return logits

    def _rows(
        self, ids: Ints, digests: Sequence[bytes], encoded: Sequence[Floats]
    ) -> tuple[list[tuple[int, bytes]], Floats]:
        """Content of each position, and its row: a token's embedding, or an image token."""
        embeds = self.engine.embed(ids)
        places = np.flatnonzero(ids == self.manifest.prompt.image_token)
        if encoded:
            embeds[places] = np.concatenate(encoded)
        names = [digest for digest, part in zip(digests, encoded, strict=True) for _ in range(len(part))]
        holds = [(int(token), b"") for token in ids]
        for place, name in zip(places, names, strict=True):
            holds[place] = (int(ids[place]), name)
        return holds, embeds

    def _decode(self, prompt: Ints, logits: NDArray[np.float32], sampling: Sampling, answer: Answer) -> Iterator[str]:
        streamed = Streamed(self.text.tokenizer)
        for token in self._tokens(prompt, logits, sampling, answer):
            with self.trace("words"):
                piece = streamed.add(token)
            if piece:
                answer.text = streamed.text
                yield piece
        answer.text = streamed.text
        if rest := streamed.rest():
            yield rest

    def _tokens(self, prompt: Ints, logits: NDArray[np.float32], sampling: Sampling, answer: Answer) -> Iterator[int]:
        """The answer's tokens without the one that stops it."""
        start = time.perf_counter()
        choose = sampling.chooser(constraint(self.manifest.generation, self.manifest.prompt.stop_tokens, len(prompt)))
        so_far = prompt.tolist()
        own = self.questions
        decoding = Decoding(self.engine, answer.drafted, is_drafting=self.is_drafting)
        while True:
            with self.trace("choose"):
                token = choose(so_far, logits)
            answer.ids.append(token)
            so_far.append(token)
            answer.decode_seconds = time.perf_counter() - start
            if token in self.manifest.prompt.stop_tokens:
                answer.stopped_by = "end of turn"
                return
            yield token
            if answer.tokens >= sampling.max_new_tokens:
                answer.stopped_by = "length"
                return
            if len(self.cached) >= self.manifest.cache.max_context:
                answer.stopped_by = "context"
                return
            if self.questions != own:
                raise EdgeError(
                    "this session got another question before the answer ended", "read an answer to its end first"
                )
            with self.trace("decode"):
                place = len(self.cached)
                room = min(self.manifest.cache.max_context - place, sampling.max_new_tokens - answer.tokens) - 1
                logits = decoding.after(token, place, drafts=room if answer.tokens >= AFTER else 0)
            self.cached.append((token, b""))

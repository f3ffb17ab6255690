"""Models that answer: a bundle or a checkpoint, loaded, whichever it is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from phantom_edge.foundation.errors import UsageError
from phantom_edge.foundation.progress import Progress, no_progress
from phantom_edge.models.shipped import NAME

if TYPE_CHECKING:
    from phantom_edge.evaluate.answerer import Answerer
    from phantom_edge.processing.images import ImageSource

Source = str | Path
"""A bundle, a checkpoint folder, a hub id, or nano, the model inside this package."""


Note = Callable[[str], object]


def no_note(_line: str) -> None:
    """Discards a note."""


def load_torch_quietly(note: Note, progress: Progress) -> None:
    """Import the model's packages; where ``progress`` shows bars, without those of transformers."""
    from phantom_edge.models.packages import load_torch, quiet_transformers

    load_torch(note)
    if progress is not no_progress:
        quiet_transformers()


@dataclass(frozen=True)
class Statistics:
    """Figures of one answer. ``tokens_per_second`` is the decode speed after the first token."""

    tokens: int
    prompt_tokens: int
    seconds_to_first_token: float
    seconds: float
    stopped_by: str
    tokens_per_second: float


class _Answer(Protocol):
    """An answer that is filled while its stream is read, of a bundle or of a checkpoint."""

    text: str
    prompt_tokens: int
    stopped_by: str

    @property
    def tokens(self) -> int: ...
    @property
    def seconds_to_first_token(self) -> float: ...
    @property
    def seconds(self) -> float: ...
    @property
    def tokens_per_second(self) -> float: ...


class Reply:
    """An answer in the making: iterate over its pieces as they come, or print it whole."""

    def __init__(self, pieces: Iterator[str], answer: _Answer) -> None:
        self._pieces, self._answer = pieces, answer

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __str__(self) -> str:
        """The whole text; generates what is left of it."""
        for _ in self._pieces:
            pass
        return self._answer.text

    @property
    def statistics(self) -> Statistics:
        """Figures of the whole answer; generates what is left of it."""
        str(self)
        return Statistics(**{name: getattr(self._answer, name) for name in Statistics.__dataclass_fields__})


Ask = Callable[[str, "Sequence[ImageSource]", tuple[int, float, float, int, int | None]], Reply]


class Model:
    """A bundle or checkpoint, loaded. Read an answer to its end before the next question: a bundle has one cache."""

    def __init__(self, source: Source, ask: Ask, answerer: "Callable[[int | None, int], Answerer]", dtype: str) -> None:
        self.source, self.dtype, self._ask, self.answerer = source, dtype, ask, answerer

    def ask(
        self,
        question: str,
        images: "Sequence[ImageSource]" = (),
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        seed: int | None = None,
    ) -> Reply:
        """Answers a question about pictures: paths, bytes or Pillow images; ``<image>`` marks in it place them."""
        return self._ask(question, images, (max_new_tokens, temperature, top_p, top_k, seed))


def load(
    source: Source = NAME,
    *,
    threads: int = 0,
    dtype: Any = None,
    note: Note = no_note,
    progress: Progress = no_progress,
) -> Model:
    """A model that is ready to answer. ``threads`` 0 leaves their number to a bundle's runtime.

    ``dtype`` is a checkpoint's torch dtype, by default that of its weights.
    """
    from phantom_edge.bundle.folder import is_bundle

    if is_bundle(source):
        if dtype is not None:
            raise UsageError(f"--dtype is for checkpoints, and {source} is a bundle", "leave it out")
        return _load_bundle(source, threads, note, progress)
    load_torch_quietly(note, progress)
    return _load_checkpoint(source, dtype)


def _load_bundle(source: Source, threads: int, note: Note, progress: Progress) -> Model:
    from phantom_edge.evaluate.bundle_answerer import BundleAnswerer
    from phantom_edge.export.sessions import notes_on, open_session
    from phantom_edge.runtime.sampling import Sampling
    from phantom_edge.runtime.session import Answer

    session = open_session(source, threads, partial(progress, "reading the bundle"))
    for line in notes_on(session.bundle):
        note(line)

    def ask(question: str, images: "Sequence[ImageSource]", sampling: tuple[Any, ...]) -> Reply:
        answer = Answer()
        return Reply(session.ask(question, images, Sampling(*sampling), answer), answer)

    return Model(source, ask, lambda _batch, most: BundleAnswerer(session, most), session.manifest.cache.dtype)


def _load_checkpoint(source: Source, dtype: Any) -> Model:
    from phantom_edge import generate
    from phantom_edge.evaluate.torch_answerer import TorchAnswerer

    model, processor = generate.load(str(source), dtype)

    def ask(question: str, images: "Sequence[ImageSource]", sampling: tuple[Any, ...]) -> Reply:
        answer = generate.Answer()
        pieces = generate.stream(model, processor, question, images, generate.Sampling(*sampling), answer)
        return Reply(pieces, answer)

    return Model(
        source,
        ask,
        lambda batch, most: TorchAnswerer(model, processor, batch, most),
        str(model.dtype).removeprefix("torch."),
    )

"""Measures a bundle on this machine, stage by stage, with the same session and engine that answer questions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets import target_named
from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.processing.images import open_image
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import Answered, Depth, Stage, StageName
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session

DEPTH_TOKENS = 8
"""Number of tokens timed at each cache length."""


LOADING = 10.0
"""Seconds after which a bundle is not loaded again."""


FORMS = {"ssh": "ssh://USER@HOST", "android": "android:SERIAL", "ios": "ios:UDID/APP"}
"""Names of devices by their transport."""


@dataclass(frozen=True)
class Wish:
    """A request: ``repeats`` of a stage after the first call, ``tokens`` per answer, ``depths`` of the cache.

    ``operators``: also run the runtime's own profiler.
    """

    repeats: int = 5
    tokens: int = 16
    threads: int = 0
    depths: tuple[int, ...] = ()
    question: str = "What is in the picture?"
    image: Path | None = None
    operators: bool = True

    def __post_init__(self) -> None:
        rules = (
            (self.repeats >= 1, "--repeats", "give 1 or more"),
            (self.tokens >= 2, "--tokens", "give 2 or more"),
            (self.threads >= 0, "--threads", "give 0 (the runtime chooses) or more"),
            (all(depth >= 1 for depth in self.depths), "--depth", "give 1 or more tokens"),
        )
        for holds, name, remedy in rules:
            if not holds:
                raise UsageError(f"{name} is impossible", remedy)


def check_runtime(bundle: Bundle) -> None:
    """Raises EdgeError where a simulator or an interpreter runs bundles of this target here: its times mislead."""
    target = target_named(bundle.manifest.target)
    if stand_in := target.stand_in():
        ways = " or ".join(f"--device {FORMS[one]}" for one in target.transports if one in FORMS)
        raise EdgeError(
            f"{stand_in} runs {bundle.path} here, and its times say nothing of a device",
            f"profile it on a device: {ways}",
        )


class Clock:
    """Measures seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds.setdefault(stage, []).append(time.perf_counter() - start)


class Measuring:
    """Measures a bundle, into ``gathering``. ``tokens`` and ``joules`` (by ``meter``) are totals of all answers."""

    def __init__(self, bundle: Bundle, wish: Wish, gathering: Gathering) -> None:
        check_runtime(bundle)
        self.bundle, self.wish, self.gathering = bundle, wish, gathering
        self.tokens = 0
        self.meter: Callable[[], float | None] = lambda: None
        self.joules: float | None = None
        room = bundle.manifest.cache.max_context
        self.depths = wish.depths or tuple(depth for depth in (64, 256, 1024, 4096) if depth + DEPTH_TOKENS <= room)
        far = [depth for depth in self.depths if depth + DEPTH_TOKENS > room]
        if far:
            raise UsageError(
                f"--depth is {far[0]:,}, and this bundle holds {room:,} tokens", f"give {room - DEPTH_TOKENS:,} or less"
            )

    @property
    def steps(self) -> int:
        """Number of progress steps."""
        return 4 + len(self.depths) + 1 + self.wish.repeats + self.wish.operators

    def measure(self) -> None:
        """Measures all stages in order."""
        session = self._load()
        self._vision(session)
        self._prefill(session)
        self._decode(session)
        self._answers(session)

    def _load(self) -> Session:
        """Loads the bundle at least twice, and repeatedly for up to ``LOADING`` seconds.

        Each session is freed before the next: two at once would double the memory.
        """
        seconds: list[float] = []

        def opened() -> Session:
            start = time.perf_counter()
            session = open_session(self.bundle.path, self.wish.threads)
            seconds.append(time.perf_counter() - start)
            return session

        opened()
        session = opened()
        while len(seconds) < 1 + self.wish.repeats and sum(seconds) < LOADING:
            del session
            session = opened()
        self.gathering.record("stage", Stage("load", 1, seconds[0], tuple(seconds[1:])))
        return session

    def _timed(self, name: StageName, units: int, work: Callable[[], object]) -> None:
        """Measures one cold and several warm calls."""
        seconds = []
        for _ in range(1 + self.wish.repeats):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        self.gathering.record("stage", Stage(name, units, seconds[0], tuple(seconds[1:])))

    def _vision(self, session: Session) -> None:
        side = self.bundle.manifest.pictures.tile_size
        pixels = np.zeros((1, 3, side, side), np.float32)
        self._timed("vision", 1, lambda: session.engine.encode_images(pixels))

    def _prefill(self, session: Session) -> None:
        """Measures a full chunk at the start of a prompt."""
        chunk = min(self.bundle.manifest.prefill_chunk, self.bundle.manifest.cache.max_context - 1)
        rows, last = self._rows(session, chunk), np.array([chunk - 1])
        self._timed("prefill", chunk, lambda: session.engine.forward(rows, 0, last))

    def _decode(self, session: Session) -> None:
        """Measures a token after one chunk, and tokens at every depth."""
        chunk = min(self.bundle.manifest.prefill_chunk, self.bundle.manifest.cache.max_context - 1)
        row, zero = self._rows(session, 1), np.array([0])
        self._timed("decode", 1, lambda: session.engine.forward(row, chunk, zero))
        for depth in self.depths:
            self._fill(session, depth)
            seconds = []
            for place in range(depth, depth + DEPTH_TOKENS):
                start = time.perf_counter()
                session.engine.forward(row, place, zero)
                seconds.append(time.perf_counter() - start)
            self.gathering.record("depth", Depth(depth, tuple(seconds)))

    def _fill(self, session: Session, depth: int) -> None:
        chunk = self.bundle.manifest.prefill_chunk
        for start in range(0, depth, chunk):
            size = min(chunk, depth - start)
            session.engine.forward(self._rows(session, size), start, np.array([], np.int64))

    def _rows(self, session: Session, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        first = self.bundle.manifest.prompt.first_token
        return session.engine.embed(np.full(count, first, np.int64))

    def _answers(self, session: Session) -> None:
        """Measures whole questions, each about a new picture."""
        used = self.meter()
        self.gathering.record("tokens", self.tokens)
        for number in range(1 + self.wish.repeats):
            session.cached, session.trace = [], (clock := Clock())
            picture, first = self._picture(number), 0.0
            start, answer = time.perf_counter(), Answer()
            for _ in session.ask(self.wish.question, [picture], Sampling(self.wish.tokens), answer):
                first = first or time.perf_counter() - start
            seconds = time.perf_counter() - start
            stages = {name: sum(times) for name, times in clock.seconds.items()}
            self.tokens += len(clock.seconds.get("choose", []))
            drafted = answer.drafted if session.is_drafting else None
            self.gathering.record("answer", Answered(seconds, first or seconds, stages, drafted))
        self.gathering.record("tokens", self.tokens)
        now = self.meter()
        self.joules = None if used is None or now is None else now - used

    def _picture(self, number: int) -> Image.Image:
        """Returns a picture that differs from the others in one pixel."""
        side = self.bundle.manifest.pictures.tile_size
        picture = Image.new("RGB", (side, side), (90, 120, 150))
        if self.wish.image is not None:
            picture = open_image(self.wish.image).copy()
        picture.putpixel((0, 0), (number % 256, number // 256 % 256, 7))
        return picture

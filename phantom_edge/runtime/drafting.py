"""Drafts: tokens proposed by a small layer, several at once, which one pass of the decoder then verifies.

A proposed token stands where the target model's own choice is the same, so an answer is that of the model alone,
whatever is proposed. For greedy choice this is plain. For sampling it is the rule of speculative sampling (arXiv
2211.17192, algorithm 1) for a draft without chance, q(x) = 1: a token drawn from p is the draft with probability p(x),
and otherwise follows p without x. Each token is drawn once, in the same order, as without drafts.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantom_edge.runtime.engine import DraftingEngine, Engine, Floats

AFTER = 4
"""Tokens of an answer before the first draft: short answers end before one would pay."""

FIRST, LEAST, MEMORY = 1.5, 0.75, 0.75
"""Accepted tokens of a draft: expected at first, and at least, so that verifying three drafts (1.6 steps of an int4
decoder on a CPU) pays; and the weight of what is expected against the last draft."""

PAUSE = 16
"""Steps without a draft where too few are accepted."""

Logits = NDArray[np.float32]


@dataclass
class Drafted:
    """Figures of an answer: passes of the decoder after the prompt, tokens proposed, and those of them that stood."""

    steps: int = 0
    proposed: int = 0
    accepted: int = 0

    def __post_init__(self) -> None:
        """ValueError for figures that contradict each other."""
        if not (0 <= self.accepted <= self.proposed and self.steps >= 0 and (self.steps > 0 or self.proposed == 0)):
            raise ValueError("figures of drafts contradict each other")

    @property
    def accepted_share(self) -> float:
        """Share of the proposed tokens that stood."""
        return self.accepted / self.proposed if self.proposed else 0.0

    @property
    def tokens_per_step(self) -> float:
        """Tokens of a pass of the decoder: its own, and drafted ones that stood."""
        return 1 + self.accepted / self.steps if self.steps else 1.0

    def text(self) -> str:
        """The figures in one line."""
        return f"{self.tokens_per_step:.2f} tokens a step; {self.accepted_share:.0%} of the drafted tokens accepted"


@dataclass
class Pace:
    """Decides from the drafts so far whether the next one would pay."""

    expected: float = FIRST
    paused: int = 0

    def wants(self) -> bool:
        """True where a draft would pay; counts the steps of a pause."""
        if self.expected < LEAST:
            self.paused += 1
            if self.paused <= PAUSE:
                return False
            self.expected, self.paused = LEAST, 0
        return True

    def add(self, accepted: int) -> None:
        """Take the number of accepted tokens of a draft into account."""
        self.expected = MEMORY * self.expected + (1 - MEMORY) * accepted


@dataclass(frozen=True)
class _Verified:
    """A proposed token whose row is in the cache: logits after it, and its hidden state."""

    token: int
    logits: Logits
    hidden: Floats


class Decoding:
    """Logits after each token of one answer, drafted where ``is_drafting`` and where it pays; see ``after``."""

    def __init__(self, engine: Engine, figures: Drafted, *, is_drafting: bool) -> None:
        self.engine, self.figures, self.pace = engine, figures, Pace()
        self.drafter = engine if is_drafting and isinstance(engine, DraftingEngine) else None
        self.hidden: Floats | None = None
        self.ahead: deque[_Verified] = deque()
        self.accepted: int | None = None  # of the last draft, None where the last step had none

    def after(self, token: int, place: int, *, drafts: int) -> Logits:
        """Logits (vocab,) after ``token``, whose row at ``place`` enters the cache; rows before it are there.

        At most ``drafts`` further rows are filled, which a later call overwrites unless their tokens are chosen.
        """
        if self.ahead and self.ahead[0].token == token:
            verified = self.ahead.popleft()
            self.figures.accepted += 1
            assert self.accepted is not None
            self.accepted += 1
            self.hidden = verified.hidden
            return verified.logits
        self.ahead.clear()
        if self.accepted is not None:
            self.pace.add(self.accepted)
            self.accepted = None
        self.figures.steps += 1
        if self.drafter is None:
            found: Logits = self.engine.forward(self.engine.embed(np.array([token])), place, np.array([0]))[0]
            return found
        return self._drafted(self.drafter, token, place, drafts)

    def _drafted(self, drafter: DraftingEngine, token: int, place: int, drafts: int) -> Logits:
        proposed: list[int] = []
        if self.hidden is not None and drafts > 0 and self.pace.wants():
            proposed = drafter.draft(self.hidden, token).tolist()[:drafts]
            self.figures.proposed += len(proposed)
            self.accepted = 0
        rows = drafter.embed(np.array([token, *proposed]))
        logits, hidden = drafter.forward_hidden(rows, place, np.arange(len(rows)))
        self.hidden = hidden[0]
        self.ahead.extend(map(_Verified, proposed, logits[1:], hidden[1:]))
        first: Logits = logits[0]
        return first

"""Choice of the next token, in numpy."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantom_edge.foundation.errors import EdgeError, UsageError
from phantom_edge.runtime.constraints import Constraint, Tokens, unchanged

COLDEST = 1e-4
"""Lowest temperature above 0: logits of some hundreds, divided by it, stay far inside float32."""


@dataclass(frozen=True)
class Sampling:
    """``temperature`` 0 is greedy. Otherwise ``top_k`` likeliest tokens (0: all), then those up to ``top_p``."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        rules = (
            (self.max_new_tokens >= 1, f"--max-new-tokens is {self.max_new_tokens}", "give 1 or more"),
            (
                self.temperature == 0 or COLDEST <= self.temperature < math.inf,
                f"--temperature is {self.temperature:g}",
                f"give 0 (greedy), or {COLDEST:g} or more",
            ),
            (0 < self.top_p <= 1, f"--top-p is {self.top_p:g}", "give more than 0 and at most 1"),
            (self.top_k >= 0, f"--top-k is {self.top_k}", "give 0 (off) or more"),
            (
                self.seed is None or 0 <= self.seed < 2**64,
                f"--seed is {self.seed}",
                "give a whole number from 0 to 18446744073709551615 (64 bits)",
            ),
        )
        for holds, problem, remedy in rules:
            if not holds:
                raise UsageError(problem, remedy)

    def chooser(self, constrain: Constraint = unchanged) -> Callable[[Tokens, NDArray[np.float32]], int]:
        """A function from tokens so far (N,) and logits (vocab,) to a token, with a random state of its own."""
        random = np.random.default_rng(self.seed)

        def choose(ids: Tokens, logits: NDArray[np.float32]) -> int:
            if not np.isfinite(logits).all():
                raise EdgeError("the bundle computed logits that are not finite", "run: phantom-edge verify BUNDLE")
            logits = constrain(ids, logits)
            if self.temperature == 0:
                return int(logits.argmax())
            order = np.argsort(-logits)[: self.top_k or None]
            scaled = (logits[order].astype(np.float64) - logits[order[0]]) / self.temperature
            shares = np.exp(scaled) / np.exp(scaled).sum()
            kept = int(np.searchsorted(np.cumsum(shares), self.top_p)) + 1
            shares = shares[:kept] / shares[:kept].sum()
            return int(random.choice(order[:kept], p=shares))

        return choose

"""Numbers of a draft layer, without torch: planners and readers need no more."""

from dataclasses import dataclass
from math import prod

MOST_WORDS = 8000
"""Largest draft vocabulary, tokens."""

STEPS, MOST_STEPS = 3, 8
"""Usual and largest number of tokens of a draft."""

INNER = 4
"""Usual width of the layer's MLP, in widths of a hidden state."""


@dataclass(frozen=True)
class DraftShape:
    """Numbers of a draft layer."""

    hidden: int
    """Numbers of a hidden state of its model."""
    inner: int
    """Width of its MLP."""
    words: int
    """Number of tokens that it can draft."""
    steps: int
    """Number of tokens of a draft."""
    eps: float
    """Epsilon of its norms."""

    def __post_init__(self) -> None:
        """ValueError for impossible numbers."""
        rules = {
            "hidden": 0 < self.hidden <= 2**16,
            "inner": 0 < self.inner <= 2**18,
            "words": 0 < self.words <= MOST_WORDS,
            "steps": 0 < self.steps <= MOST_STEPS,
            "eps": 0 < self.eps < 1,
        }
        for name, holds in rules.items():
            if not holds:
                raise ValueError(f"{name} is impossible")

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight of the layer."""
        hidden, inner = self.hidden, self.inner
        return {
            "token_norm.weight": (hidden,),
            "join.weight": (hidden, 2 * hidden),
            "mlp_norm.weight": (hidden,),
            "gate_up.weight": (2 * inner, hidden),
            "down.weight": (hidden, inner),
            "last_norm.weight": (hidden,),
        }

    @property
    def numbers_read(self) -> int:
        """Numbers that one draft reads: the layer's weights and the head of its words, once a step."""
        return self.steps * (sum(map(prod, self.tensors().values())) + self.words * self.hidden)


def usual_shape(hidden: int, vocabulary: int, eps: float) -> DraftShape:
    """The shape that ``train draft`` chooses for a model."""
    return DraftShape(hidden, INNER * hidden, min(vocabulary, MOST_WORDS), STEPS, eps)

"""What was compared with the checkpoint, and how it came out."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal[
    "vision",
    "prefill",
    "decode",
    "exact vision",
    "exact prefill",
    "exact decode",
    "strict vision",
    "strict prefill",
    "strict decode",
]


STAGES: tuple[Stage, ...] = ("vision", "prefill", "decode")
"""What is compared of every bundle. The exact ones are of bundles that round activations, without that; the strict ones
of packages for Apple's systems, rounded to float16 inside operators, too."""


RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS = "relative error", "absolute error", "divergence, nats", "other tokens"
"""What a check measures: the largest difference over the largest magnitude, that difference, mean KL divergence of the
next-token distributions, and the share of positions whose likeliest token is another."""


@dataclass(frozen=True)
class Check:
    """One comparison with the reference model: what was measured, and the bound that it had to keep, if any.

    ``value`` is None where it is not finite.
    """

    stage: Stage
    case: str
    measure: Literal["relative error", "absolute error", "divergence, nats", "other tokens"]
    value: float | None
    bound: float | None

    @property
    def passed(self) -> bool:
        """Whether it is finite and kept the bound."""
        return self.value is not None and (self.bound is None or self.value <= self.bound)

    @property
    def value_text(self) -> str:
        """The value as text."""
        if self.value is None:
            return "not finite"
        return f"{100 * self.value:.1f} %" if self.measure == OTHERS else f"{self.value:.1e}"

    def text(self) -> str:
        """In words, for a message."""
        bound = "" if self.bound is None else f", bound {self.bound:.1e}"
        return f"{self.stage} of '{self.case}': {self.measure} {self.value_text}{bound}"


@dataclass(frozen=True)
class Hazard:
    """What float16 did to an operator of a part, over the first runs of what was compared.

    Counts of numbers that became NaN, passed float16's range, and of softmax rows that were masked whole; shares of
    numbers that vanished, and that lost bits because they are small.
    """

    part: str
    operator: str
    kind: str
    nans: int
    overflows: int
    masked_rows: int
    vanished: float
    subnormal: float


@dataclass(frozen=True)
class Layer:
    """How near a layer's output is to that of the checkpoint: signal to noise in decibels, None where it is no number.

    The noise is that of all layers before it, too.
    """

    part: str
    layer: int
    decibels: float | None


@dataclass(frozen=True)
class Proof:
    """A comparison with the checkpoint. ``left_out`` names the cases whose prompts did not fit into the cache.

    ``hazards`` are those of bundles that the interpreter runs, the worst first; ``layers`` those of bundles in fixed
    point, the worst first, too.
    """

    checks: tuple[Check, ...]
    left_out: tuple[str, ...]
    hazards: tuple[Hazard, ...] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every stage was compared, and every bound kept."""
        return {check.stage for check in self.checks} >= set(STAGES) and all(check.passed for check in self.checks)

    def by_stage(self) -> dict[tuple[str, str], dict[str, Check]]:
        """The checks of each stage and case, by measure."""
        found: dict[tuple[str, str], dict[str, Check]] = {}
        for check in self.checks:
            found.setdefault((check.stage, check.case), {})[check.measure] = check
        return found

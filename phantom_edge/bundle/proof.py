"""Comparisons with the checkpoint, and their results."""

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
"""Stages compared for every bundle. Exact ones leave out the rounding of activations; strict ones, for packages for
Apple's systems, also round to float16 inside operators."""


RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS = "relative error", "absolute error", "divergence, nats", "other tokens"
"""Measures of a check: the largest difference over the largest magnitude, that difference, mean KL divergence of the
next-token distributions, and the share of positions whose likeliest token differs."""


@dataclass(frozen=True)
class Check:
    """One comparison with the reference model: the measured value, and its bound, if any.

    ``value`` is None where it is not finite.
    """

    stage: Stage
    case: str
    measure: Literal["relative error", "absolute error", "divergence, nats", "other tokens"]
    value: float | None
    bound: float | None

    @property
    def passed(self) -> bool:
        """True where the value is finite and within the bound."""
        return self.value is not None and (self.bound is None or self.value <= self.bound)

    @property
    def value_text(self) -> str:
        """The value as text."""
        if self.value is None:
            return "not finite"
        return f"{100 * self.value:.1f} %" if self.measure == OTHERS else f"{self.value:.1e}"

    def text(self) -> str:
        """The check in one line, for a message."""
        bound = "" if self.bound is None else f", bound {self.bound:.1e}"
        return f"{self.stage} of '{self.case}': {self.measure} {self.value_text}{bound}"


@dataclass(frozen=True)
class Hazard:
    """Effects of float16 on an operator of a part, over the first compared runs.

    Counts of numbers that became NaN or passed float16's range, and of softmax rows that were masked whole; shares of
    numbers that vanished, and that lost bits as subnormals.
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
    """Signal-to-noise ratio of a layer's output against the checkpoint, in decibels; None where it is not finite.

    The noise includes that of all earlier layers.
    """

    part: str
    layer: int
    decibels: float | None


@dataclass(frozen=True)
class Proof:
    """A comparison with the checkpoint. ``left_out`` names the cases whose prompts did not fit into the cache.

    ``hazards`` are for bundles that the interpreter runs, ``layers`` for bundles in fixed point; both the worst first.
    """

    checks: tuple[Check, ...]
    left_out: tuple[str, ...]
    hazards: tuple[Hazard, ...] = ()
    layers: tuple[Layer, ...] = ()

    @property
    def passed(self) -> bool:
        """True where every stage was compared, and every bound kept."""
        return {check.stage for check in self.checks} >= set(STAGES) and all(check.passed for check in self.checks)

    def by_stage(self) -> dict[tuple[str, str], dict[str, Check]]:
        """The checks of each stage and case, by measure."""
        found: dict[tuple[str, str], dict[str, Check]] = {}
        for check in self.checks:
            found.setdefault((check.stage, check.case), {})[check.measure] = check
        return found

"""Comparisons with the checkpoint, and their results."""

from dataclasses import dataclass
from typing import Literal

Stage = Literal[
    "vision",
    "prefill",
    "decode",
    "draft",
    "exact vision",
    "exact prefill",
    "exact decode",
    "strict vision",
    "strict prefill",
    "strict decode",
]


STAGES: tuple[Stage, ...] = ("vision", "prefill", "decode")
"""Stages compared for every bundle. ``draft`` is for those with a draft layer. Exact stages leave out the rounding of
activations; strict ones, for packages for Apple's systems, also round to float16 inside operators."""


RELATIVE, ABSOLUTE, DIVERGENCE, OTHERS = "relative error", "absolute error", "divergence, nats", "other tokens"
"""Measures of a check: the largest difference over the largest magnitude, that difference, mean KL divergence of the
next-token distributions, and the share of positions whose likeliest token differs."""


@dataclass(frozen=True)
class Check:
    """One comparison with the reference model."""

    stage: Stage
    """Stage of an answer."""
    case: str
    """Name of the prompt or picture."""
    measure: Literal["relative error", "absolute error", "divergence, nats", "other tokens"]
    """Measure of the difference; "other tokens" is a share of positions, from 0 to 1."""
    value: float | None
    """Measured difference, in the unit of ``measure``; null where it is not finite."""
    bound: float | None
    """Largest allowed difference, in the unit of ``measure``; null where it is reported only."""
    form: str = ""
    """Form of the graphs, where a bundle has several for one part: for target web, the engine; else empty."""

    @property
    def title(self) -> str:
        """The case, and the form where there are several."""
        return f"{self.case}, {self.form}" if self.form else self.case

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

    @property
    def bound_text(self) -> str:
        """The bound as text."""
        if self.bound is None:
            return "none"
        return f"{100 * self.bound:.1f} %" if self.measure == OTHERS else f"{self.bound:.0e}"

    def text(self) -> str:
        """The check in one line, for a message."""
        bound = "" if self.bound is None else f", bound {self.bound:.1e}"
        return f"{self.stage} of '{self.title}': {self.measure} {self.value_text}{bound}"


@dataclass(frozen=True)
class Hazard:
    """Effects of float16 on an operator of a part, over the first compared runs."""

    part: str
    """Name of the part."""
    operator: str
    """Name of the operator."""
    kind: str
    """Kind of the operator."""
    nans: int
    """Count of numbers that became NaN."""
    overflows: int
    """Count of numbers that passed float16's range."""
    masked_rows: int
    """Count of softmax rows that were masked whole."""
    vanished: float
    """Share of numbers, from 0 to 1, that became 0."""
    subnormal: float
    """Share of numbers, from 0 to 1, that lost bits as subnormals."""


@dataclass(frozen=True)
class Layer:
    """Signal-to-noise ratio of a layer's output against the checkpoint; the noise includes that of earlier layers."""

    part: str
    """Name of the part."""
    layer: int
    """Number of the layer, from 0 on."""
    decibels: float | None
    """Ratio in decibels; null where it is not finite."""


@dataclass(frozen=True)
class Proof:
    """A comparison with the checkpoint."""

    checks: tuple[Check, ...]
    """All comparisons."""
    left_out: tuple[str, ...]
    """Names of the cases whose prompts did not fit into the cache."""
    hazards: tuple[Hazard, ...] = ()
    """Effects of float16, the worst first, for bundles that the interpreter runs."""
    layers: tuple[Layer, ...] = ()
    """Noise by layer, the worst first, for bundles in fixed point."""

    @property
    def passed(self) -> bool:
        """True where every stage was compared, and every bound kept."""
        return {check.stage for check in self.checks} >= set(STAGES) and all(check.passed for check in self.checks)

    def by_stage(self) -> dict[tuple[str, str], dict[str, Check]]:
        """The checks of each stage, and of each case in each form, by measure."""
        found: dict[tuple[str, str], dict[str, Check]] = {}
        for check in self.checks:
            found.setdefault((check.stage, check.title), {})[check.measure] = check
        return found

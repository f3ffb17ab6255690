"""Trials: the ways in which a bundle runs to be compared with its checkpoint, each with its bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import DIVERGENCE, OTHERS, RELATIVE, Layer
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.targets.target import MakeEngine
from phantom_edge.models.tensor_names import PROJECTOR, TOWER
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Floats

VISION = "vision"
"""Key of the bound on the relative error of image tokens; other keys are measures of logits."""

Bounds = dict[str, float]

BOUNDS: dict[str, Bounds] = {
    "float32": {VISION: 1e-4, RELATIVE: 1e-4, DIVERGENCE: 1e-6, OTHERS: 0.0},
    "float16": {VISION: 2e-2, RELATIVE: 3e-2, DIVERGENCE: 1e-3, OTHERS: 0.05},
}
"""Maximum error of a bundle, by the number format in which its graphs compute. Float16 keeps 11 bits through thousands
of sums, and its ties may flip."""

ROUNDED: Bounds = {RELATIVE: 1e-1, DIVERGENCE: 1e-2}
"""The same where activations are rounded to 8 bits before quantized layers or the cache: rounding flips ties, so other
tokens are reported and not bound. The exact stages show that nothing else is off."""

Kind = Literal["plain", "exact", "strict"]
MeasureLayers = Callable[[Bundle, Reference, Floats, Floats, Callable[[], None]], tuple[Layer, ...]]
"""Measures each layer's signal to noise, bundle against reference, over tiles (1, 3, S, S) and a prompt (N, hidden)."""


@dataclass(frozen=True)
class Trial:
    """One way to run a bundle, the reference to compare with, and its bounds (none: errors are reported only).

    ``plain`` is the usual run; ``exact`` leaves out the rounding of activations; ``strict`` rounds inside operators,
    too. ``layers`` compares layer by layer, where the engine allows it. ``form`` names the graphs that run, where a
    bundle holds several for the same part.
    """

    engine: MakeEngine
    reference: Reference
    bounds: Bounds
    kind: Kind = "plain"
    layers: MeasureLayers | None = None
    form: str = ""


def trials(
    bundle: Bundle, reference: Reference, engine: MakeEngine, exact: MakeEngine | None = None, *, rounds: bool = True
) -> list[Trial]:
    """Returns the plain trial and, where it rounds activations and there is an ``exact`` engine, one without rounding.

    ``rounds`` as in Target.
    """
    manifest, source = bundle.manifest, reference.source
    if is_of_another_precision(bundle, source):
        return [Trial(engine, reference, {})]
    bounds = BOUNDS[manifest.cache.dtype]
    if not manifest.cache.rounded and (manifest.integers is None or not rounds):
        return [Trial(engine, reference, bounds)]
    vision = ROUNDED[RELATIVE] if sees_in_integers(source) else bounds[VISION]
    found = [Trial(engine, reference, {VISION: vision, **ROUNDED})]
    return found if exact is None else [*found, Trial(exact, reference, bounds, "exact")]


def is_of_another_precision(bundle: Bundle, source: Source) -> bool:
    """True where the bundle is quantized and the checkpoint is not: its error is then the price of quantizing."""
    return bundle.manifest.integers is not None and source.integers is None


def sees_in_integers(source: Source) -> bool:
    """True where any weight between pixels and image tokens is quantized."""
    names = source.integers.schemes if source.integers is not None else ()
    return any(name.startswith((TOWER, PROJECTOR)) for name in names)

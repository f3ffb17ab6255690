"""Profiles as inputs of the planner: counts, rates of the machine, and seconds of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from phantom_edge.bundle.work import Work
from phantom_edge.export.targets.target import Target
from phantom_edge.models.sizes import SIZES, Size
from phantom_edge.profile.devices.table import Entry, entry_of
from phantom_edge.profile.plan.counting import (
    Counted,
    Form,
    activation_bytes,
    count,
    decoder_weights,
    vision_weights,
)
from phantom_edge.profile.plan.predict import Rates, rates_of
from phantom_edge.profile.result import Run, StageName, Subject
from phantom_edge.quantize.recipe import SHIPPED

VISION_NEAR, DECODER_NEAR = 0.005, 0.3
"""Maximum relative differences in bytes between a run's parts and a size that it matches."""


@dataclass(frozen=True)
class Sample:
    """A profile with the inputs of its prediction: counts, rates of the machine, and measurements."""

    counted: Counted
    rates: Rates
    weights: str
    vision: float | None
    prefill: tuple[int, float] | None
    depths: tuple[tuple[int, float], ...]
    peak: float | None
    activations: int

    @property
    def deepest(self) -> int:
        """Largest known number of cached tokens."""
        return max([context for context, _ in self.depths] + [0 if self.prefill is None else self.prefill[0]])


def sample_of(
    run: Run, targets: Mapping[str, Target], sizes: Sequence[Size] = (), entry: Entry | None = None
) -> Sample:
    """Returns the sample of a profile. Counts missing in it come from the matching size, known or in ``sizes``.

    Rates are those of ``entry``, the planned device; on this machine, those measured with the profile, which depend on
    its number of threads.
    """
    subject = run.subject
    own = entry_of(run.device) if entry is None or entry.kind == "host" else entry
    target = targets[subject.target]
    rates = rates_of(own, target, subject.weights)
    vision, prefill, decode = (_median(run, name) for name in ("vision", "prefill", "decode"))
    depths = tuple((depth.context, median(depth.seconds)) for depth in run.depths if depth.seconds)
    chunk = 1 if prefill is None else prefill[0]
    if not depths and decode is not None:
        depths = ((chunk, decode[1]),)
    form = _form(run, target, (*sizes, *SIZES.values()), max([context for context, _ in depths], default=0) + chunk)
    return Sample(
        counted=_counted(run, form),
        rates=rates,
        weights=subject.weights,
        vision=None if vision is None else vision[1],
        prefill=prefill,
        depths=depths,
        peak=run.peak_bytes,
        activations=0 if form is None else activation_bytes(form, chunk),
    )


def _median(run: Run, name: StageName) -> tuple[int, float] | None:
    """Units and median seconds of a stage, None where it was not measured warm."""
    stage = run.stage(name)
    return None if stage is None or not stage.warm else (stage.units, median(stage.warm))


def _form(run: Run, target: Target, sizes: Sequence[Size], context: int) -> Form | None:
    """Finds the form whose weights have the run's size; None where none matches, or the recipe is unknown.

    The decoder's bytes include rotations, whose number is unknown: so vision decides.
    """
    subject, weights = run.subject, run.subject.weights
    floats: tuple[str, ...] = ("fp16",) if target.count.is_half else ("fp32", "fp16")
    if weights != "float" and weights not in SHIPPED:
        return None
    forms = [
        Form(size, target, name, context) for size in sizes for name in (floats if weights == "float" else (weights,))
    ]
    off = [_off(form, subject) for form in forms]
    best = min(range(len(forms)), key=lambda place: off[place])
    vision, decoder = off[best]
    return forms[best] if vision < VISION_NEAR and decoder < DECODER_NEAR else None


def _off(form: Form, subject: Subject) -> tuple[float, float]:
    """Relative errors in bytes of vision (0 where it is near) and decoder."""
    vision = abs(sum(vision_weights(form).values()) / max(subject.vision_bytes, 1) - 1)
    decoder = abs(sum(decoder_weights(form).values()) / max(subject.decoder_bytes, 1) - 1)
    return (vision if vision >= VISION_NEAR else 0.0, decoder)


def _counted(run: Run, form: Form | None) -> Counted:
    """Counts from the profile, and the rest from its size."""
    subject = run.subject
    shape = None if form is None else count(form)
    groups = 1 if form is None else form.size.heads // form.size.kv_heads
    element = 4 if form is None else form.element
    work = Work(
        decoder_bytes=subject.decoder_bytes,
        vision_bytes=subject.vision_bytes,
        decoder_products=subject.decoder_products,
        vision_products=subject.vision_products,
        cache_bytes_per_token=subject.cache_bytes_per_token,
        cache_products_per_token=subject.cache_bytes_per_token * groups // element,
    )
    if shape is None:
        return Counted(work, 0, 1, 1, 0, 0, subject.decoder_bytes + subject.vision_bytes)
    return Counted(
        work,
        shape.table_bytes,
        shape.layers,
        shape.vision_layers,
        shape.head_products,
        shape.attention_products,
        shape.disk_bytes,
    )

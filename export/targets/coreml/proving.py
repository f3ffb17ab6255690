"""Trials of packages for Apple's systems, which an interpreter runs in several modes."""

from collections.abc import Callable
from functools import partial

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import DIVERGENCE, RELATIVE
from phantom_edge.export.targets.coreml.engine import CoreMlEngine
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.float16_reference import StoredReference
from phantom_edge.export.targets.trials import BOUNDS, VISION, Bounds, Trial, is_of_another_precision, trials
from phantom_edge.reference import Reference
from phantom_edge.runtime.engine import Engine

STRICT: Bounds = {VISION: 5e-2, RELATIVE: 1e-1, DIVERGENCE: 1e-2}
"""Bounds with float16 inside operators, in sums that no device need take so badly."""


def package_trials(
    bundle: Bundle,
    reference: Reference,
    engine: Callable[..., Engine],
    stored: Callable[..., Reference],
    *,
    strict: bool,
) -> list[Trial]:
    """As the device computes, in float32 beside constants as they are ``stored``, and ``strict``."""
    found = trials(bundle, reference, partial(engine, watch=True))
    if not is_of_another_precision(bundle, reference.source):
        facts, phantom = bundle.facts(AppleFacts), bundle.manifest.phantom
        smooth = partial(engine, mode="smooth", apple=False)
        own = stored(reference.source, facts, phantom)
        found.append(Trial(smooth, own, BOUNDS["float32"], "exact"))
    if strict:
        bounds = {} if is_of_another_precision(bundle, reference.source) else STRICT
        found.append(Trial(partial(engine, mode="strict", apple=False), reference, bounds, "strict"))
    return found


def exact(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Trial]:
    """See Exact."""
    return package_trials(bundle, reference, CoreMlEngine, StoredReference, strict=strict)

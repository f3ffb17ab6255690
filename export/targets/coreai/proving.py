"""Trials of Core AI assets."""

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.coreai.engine import CoreAiEngine
from phantom_edge.export.targets.coreai.scales import AssetReference
from phantom_edge.export.targets.coreml.proving import package_trials
from phantom_edge.export.targets.trials import Trial
from phantom_edge.reference import Reference


def exact(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Trial]:
    """See Exact."""
    return package_trials(bundle, reference, CoreAiEngine, AssetReference, strict=strict)

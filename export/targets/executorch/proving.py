"""Trials of ExecuTorch programs."""

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.executorch.engine import ExactPteEngine, PteEngine
from phantom_edge.export.targets.trials import Trial, trials
from phantom_edge.reference import Reference


def exact(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Trial]:
    """See Exact."""
    return trials(bundle, reference, PteEngine, ExactPteEngine)

"""Trials of graphs in fixed point."""

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import DIVERGENCE, OTHERS, RELATIVE
from phantom_edge.export.targets.qnn.engine import QnnEngine
from phantom_edge.export.targets.qnn.exact import ExactQnnEngine
from phantom_edge.export.targets.qnn.layers import measure_layers
from phantom_edge.export.targets.trials import VISION, Bounds, Trial, is_of_another_precision
from phantom_edge.reference import Reference

FIXED_POINT: Bounds = {VISION: 5e-2, RELATIVE: 5e-2, DIVERGENCE: 1e-2, OTHERS: 0.1}
"""Bounds where every tensor is rounded to 16 bits, by scales that were chosen before."""

CONSTANTS: Bounds = {VISION: 1e-3, RELATIVE: 1e-3, DIVERGENCE: 1e-6, OTHERS: 5e-3}
"""Bounds where only small constants are rounded: that turns ties, too."""


def exact(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Trial]:
    """As the processor computes, layer by layer, too; and in float."""
    if is_of_another_precision(bundle, reference.source):
        return [Trial(QnnEngine, reference, {}, layers=measure_layers)]
    return [
        Trial(QnnEngine, reference, FIXED_POINT, layers=measure_layers),
        Trial(ExactQnnEngine, reference, CONSTANTS, "exact"),
    ]

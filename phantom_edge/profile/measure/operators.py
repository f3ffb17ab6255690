"""Where the time goes inside of a step: a pass of its own, for a profiler takes time itself."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import Manifest
from phantom_edge.export.targets import target_named
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.result import Operators
from phantom_edge.runtime.tracing import OTHER

NAMELESS = "the nodes of this bundle say no places in the model; export it again"


def operators_of(bundle: Bundle, threads: int, depths: Sequence[int]) -> Operators:
    """What the runtime's profiler finds. Where it finds nothing, why: all else was measured, and is worth keeping."""
    target, widened = target_named(bundle.manifest.target), _widened(bundle.manifest)
    if target.trace is None:
        return Operators(untold=target.untraced or f"nothing here profiles target {target.name}", widened=widened)
    try:
        with TemporaryDirectory() as folder:
            traced, groups = target.trace()(bundle, threads, depths, Path(folder))
    except EdgeError as error:
        return Operators(untold=error.problem, widened=widened)
    untold = NAMELESS if {one.group for one in groups} == {OTHER} else ""
    return Operators(tuple(groups), tuple(traced), untold, widened)


def _widened(manifest: Manifest) -> float:
    """How many times as wide cached rows are as plain ones."""
    widths = [*manifest.cache.key_widths, *manifest.cache.value_widths]
    return max(sum(widths) / (len(widths) * manifest.model.head_dim), 1.0)

"""Where the time goes inside of a step: a pass of its own, for a profiler takes time itself."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.manifest import Manifest
from phantom_edge.export.targets.onnx.ort_trace import OTHER
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.result import Group, Operators, Traced

Found = tuple[list[Traced], list[Group]]
Pass = Callable[[Bundle, int, Sequence[int], Path], Found]
"""Of a bundle on so many threads, a tile, a chunk, and tokens behind the first and the last of depths.

Raises EdgeError for what the runtime does not tell. The folder is for its files.
"""


def _ort(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    from phantom_edge.export.targets.onnx.trace import traced

    return traced(bundle, threads, depths, folder)


def _executorch(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    from phantom_edge.export.targets.executorch.trace import dumped

    return dumped(bundle, threads, depths, folder)


PASSES: dict[str, Pass] = {"onnx": _ort, "jetson": _ort, "executorch": _executorch}
"""What asks the runtime of a target."""

UNTOLD = {
    "coreml": "Core ML tells programs no times of operators; Xcode's performance reports show them",
    "coreai": "Core AI tells programs no times of operators",
    "qnn": "ONNX Runtime sees one node on Qualcomm's processor, whose operators it cannot tell apart",
}
"""Why other targets tell nothing."""

NAMELESS = "the nodes of this bundle say no places in the model; export it again"


def operators_of(bundle: Bundle, threads: int, depths: Sequence[int]) -> Operators:
    """What the runtime's profiler finds. Where it finds nothing, why: all else was measured, and is worth keeping."""
    target, widened = bundle.manifest.target, _widened(bundle.manifest)
    if target not in PASSES:
        return Operators(untold=UNTOLD.get(target, f"nothing here profiles target {target}"), widened=widened)
    try:
        with TemporaryDirectory() as folder:
            traced, groups = PASSES[target](bundle, threads, depths, Path(folder))
    except EdgeError as error:
        return Operators(untold=error.problem, widened=widened)
    untold = NAMELESS if {one.group for one in groups} == {OTHER} else ""
    return Operators(tuple(groups), tuple(traced), untold, widened)


def _widened(manifest: Manifest) -> float:
    """How many times as wide cached rows are as plain ones."""
    widths = [*manifest.cache.key_widths, *manifest.cache.value_widths]
    return max(sum(widths) / (len(widths) * manifest.model.head_dim), 1.0)


def behind(depths: Sequence[int], chunk: int) -> list[int]:
    """The first and the last of ``depths``; a chunk where there are none."""
    return list(dict.fromkeys((depths[0], depths[-1]) if depths else (chunk,)))

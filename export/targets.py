"""Every target, by the name that ``--target`` takes."""

from phantom_edge.errors import EdgeError, need
from phantom_edge.export.settings import Target


def _onnx() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.export.ort import lower

    return lower


TARGETS = {"onnx": _onnx}
"""What makes each target's function, its packages imported only then."""


def target_named(name: str) -> Target:
    """Raises EdgeError for a name that is no target, and for packages that are missing."""
    if name not in TARGETS:
        raise EdgeError(f"there is no target '{name}'", f"choose from: {', '.join(TARGETS)}")
    return TARGETS[name]()

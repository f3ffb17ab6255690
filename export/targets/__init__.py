"""Every target, by the name that ``--target`` takes."""

from phantom_edge.export.targets.target import Precision, Target
from phantom_edge.foundation.errors import EdgeError, need


def _onnx() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.export.targets.onnx.lower import TARGET

    return TARGET


def _coreml() -> Target:
    from phantom_edge.export.interpreters.mil.importing import coremltools

    coremltools()
    from phantom_edge.export.targets.coreml.lower import TARGET

    return TARGET


def _coreai() -> Target:
    from phantom_edge.export.targets.coreai.importing import coreai

    coreai("coreai_torch")
    from phantom_edge.export.targets.coreai.lower import TARGET

    return TARGET


def _executorch() -> Target:
    from phantom_edge.export.targets.executorch.importing import executorch

    executorch()
    from phantom_edge.export.targets.executorch.lower import TARGET

    return TARGET


def _jetson() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.export.targets.jetson.lower import TARGET

    return TARGET


def _qnn() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.export.targets.qnn.engine import register

    register()
    from phantom_edge.export.targets.qnn.lower import TARGET

    return TARGET


TARGETS = {
    "onnx": _onnx,
    "coreml": _coreml,
    "coreai": _coreai,
    "executorch": _executorch,
    "jetson": _jetson,
    "qnn": _qnn,
}
"""What makes each target, its packages imported only then."""

PRECISIONS: dict[str, Precision] = {
    "onnx": "fp32",
    "coreml": "fp16",
    "coreai": "fp16",
    "executorch": "fp32",
    "jetson": "fp16",
    "qnn": "fp16",
}
"""The number format of each unless another is asked for."""


def target_named(name: str) -> Target:
    """Raises EdgeError for a name that is no target, and for packages that are missing."""
    if name not in TARGETS:
        raise EdgeError(f"there is no target '{name}'", f"choose from: {', '.join(TARGETS)}")
    return TARGETS[name]()

"""Every target, by the name that ``--target`` takes."""

from phantom_edge.errors import EdgeError, need
from phantom_edge.export.settings import Precision, Target


def _onnx() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.export.ort import TARGET

    return TARGET


def _coreml() -> Target:
    from phantom_edge.export.mil.importing import coremltools

    coremltools()
    from phantom_edge.export.coreml import TARGET

    return TARGET


def _coreai() -> Target:
    from phantom_edge.export.aimodel.importing import coreai

    coreai("coreai_torch")
    from phantom_edge.export.coreai import TARGET

    return TARGET


def _executorch() -> Target:
    from phantom_edge.export.program.importing import executorch

    executorch()
    from phantom_edge.export.pte import TARGET

    return TARGET


def _jetson() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.export.trt import TARGET

    return TARGET


def _qnn() -> Target:
    need("onnx_ir", "export")
    from phantom_edge.runtime.qnn import register

    register()
    from phantom_edge.export.qnn import TARGET

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

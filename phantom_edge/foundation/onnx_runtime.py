"""ONNX Runtime, with nothing sent home: its builds for Windows report events to Microsoft unless asked not to."""

from types import ModuleType

from phantom_edge.foundation.errors import need


def need_onnx_runtime() -> ModuleType:
    """Import ONNX Runtime and turn its telemetry off. Raises EdgeError as ``need`` does."""
    ort = need("onnxruntime", "ort")
    ort.disable_telemetry_events()
    return ort

"""ONNX Runtime sends nothing home, wherever the package imports it."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ort = pytest.importorskip("onnxruntime")


def test_telemetry_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from phantom_edge.foundation.onnx_runtime import need_onnx_runtime

    off: list[bool] = []
    monkeypatch.setattr(ort, "disable_telemetry_events", lambda: off.append(True))
    assert need_onnx_runtime() is ort and off == [True]


def test_nothing_imports_it_otherwise() -> None:
    """Quantization's own tools of it make no session."""
    files = [path for folder in ("phantom_edge", "export", "quantize") for path in (ROOT / folder).rglob("*.py")]
    asking = {path.name for path in files if 'need("onnxruntime"' in path.read_text(encoding="utf-8")}
    assert asking == {"onnx_runtime.py"}

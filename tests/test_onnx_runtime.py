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


def test_kotlin_turns_it_off_too() -> None:
    """The library, the demo app and the programs of READMEs, wherever they take the environment."""
    files = [path for folder in ("apps/android", "export") for path in (ROOT / folder).rglob("*.kt")]
    found = [
        text.split("getEnvironment()")[1:]
        for path in files
        if "/test/" not in str(path) and (text := path.read_text("utf-8"))
    ]
    begins = [after[:40] for afters in found for after in afters]
    assert len(begins) >= 4
    assert all(begin.startswith((".setTelemetry(false)", ".apply { setTelemetry(false) }")) for begin in begins), begins


def test_nothing_imports_it_otherwise() -> None:
    """Quantization's own tools of it make no session."""
    files = [path for folder in ("phantom_edge", "export", "quantize") for path in (ROOT / folder).rglob("*.py")]
    asking = {path.name for path in files if 'need("onnxruntime"' in path.read_text(encoding="utf-8")}
    assert asking == {"onnx_runtime.py"}

"""Engine of Qualcomm's Hexagon tensor processor (HTP), by ONNX Runtime's plugin; on x86 the plugin's simulator.

No operator falls back to ONNX Runtime's CPU.
"""

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packaging.version import InvalidVersion, Version

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.qnn.facts import HexagonFacts, is_simulated
from phantom_edge.export.targets.qnn.host import HeadLayout
from phantom_edge.foundation.errors import EdgeError, need
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.foundation.versions import install_command, installed
from phantom_edge.runtime.steps import Arrays, StepsEngine

PROVIDER, PLUGIN = "QNNExecutionProvider", "onnxruntime-qnn"
TYPES = {"tensor(float)": "float32", "tensor(int16)": "int16"}


def register() -> tuple[Any, Any]:
    """Returns ONNX Runtime with the plugin registered, and the plugin. Raises EdgeError where either does not load.

    The wheels exist for Windows, and for Linux with glibc 2.34 (arm64) or 2.35 (x86-64).
    """
    ort, plugin = need_onnx_runtime(), need("onnxruntime_qnn")
    try:
        if not _devices(ort):
            ort.register_execution_provider_library(PROVIDER, plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's errors have no class of their own
        raise EdgeError(
            f"{PLUGIN} {installed(PLUGIN)} does not load into ONNX Runtime {ort.__version__} ({_line(error)})",
            f"run: {install_command('qnn')}; if that does not help: phantom-edge doctor",
        ) from error
    if not _devices(ort):
        raise EdgeError(
            f"{PLUGIN} finds no Hexagon processor here, and has no simulator of one for {platform.machine()}",
            "use a machine with a Snapdragon, or Linux on x86-64",
        )
    return ort, plugin


def open_session(
    model: Path | bytes,
    soc: int,
    arch: int,
    *,
    entries: Mapping[str, str] | None = None,
    is_strict: bool = True,
    level: int = 4,
) -> Any:
    """Opens a session of a graph, compiled or not; ``entries`` are ONNX Runtime's own settings.

    Without ``is_strict``, operators may fall back to the CPU.
    """
    ort, plugin = register()
    options = ort.SessionOptions()
    options.log_severity_level = level
    ort.set_default_logger_severity(level)
    if is_strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for name, value in (entries or {}).items():
        options.add_session_config_entry(name, value)
    given = {
        "backend_path": plugin.get_qnn_htp_path(),
        "soc_model": str(soc),
        "htp_arch": str(arch),
        "htp_performance_mode": "burst",
        "offload_graph_io_quantization": "0",
    }
    options.add_provider_for_devices(_devices(ort)[:1], given)
    with _stdout_kept():
        return ort.InferenceSession(model if isinstance(model, bytes) else str(model), options, enable_fallback=0)


@contextmanager
def _stdout_kept() -> Iterator[None]:
    """Redirects a line of Qualcomm's library from stdout, which is for documents, to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _devices(ort: Any) -> list[Any]:
    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


class Loaded:
    """A function of a bundle on the processor. Raises EdgeError where it does not load."""

    def __init__(self, bundle: Bundle, part: Part, chip: HexagonFacts) -> None:
        is_apart = chip.shared and is_simulated()  # the simulator loads no shared file
        self.path = bundle.file(part.source if is_apart else part.file)
        try:
            self.session = open_session(self.path, chip.soc, chip.arch)
        except EdgeError:
            raise
        except Exception as error:
            raise EdgeError(
                f"{self.path} does not load ({_line(error)}); it was compiled for {chip.name} by QNN {chip.sdk}",
                f"{AGAIN} --target qnn --soc {chip.name}; if that does not help: phantom-edge doctor",
            ) from error
        for listed, found in ((part.inputs, self.session.get_inputs()), (part.outputs, self.session.get_outputs())):
            if {(port.name, tuple(port.shape), port.dtype) for port in listed} != {
                (one.name, tuple(one.shape), TYPES.get(one.type, one.type)) for one in found
            }:
                raise EdgeError(f"{self.path} has other inputs or outputs than {bundle.path / MANIFEST} lists", AGAIN)
        self.outputs = [port.name for port in self.session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        try:
            found = self.session.run(None, {name: np.ascontiguousarray(array) for name, array in inputs.items()})
        except Exception as error:
            raise EdgeError(f"{self.path} does not run ({_line(error)})", AGAIN) from error
        return dict(zip(self.outputs, found, strict=True))


class QnnEngine(StepsEngine):
    """Runs a bundle of target qnn, on the processor or in its simulator. ``threads`` has no effect on either."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        facts, parts = bundle.facts(HexagonFacts), bundle.manifest.parts
        _check_version(bundle)
        functions = {name: Loaded(bundle, part, facts) for name, part in parts.items()}
        super().__init__(bundle, functions, parts["decoder"].inputs, layout_of(bundle), facts)


def layout_of(bundle: Bundle) -> HeadLayout:
    """Returns the layout of a bundle's functions, by its number of query heads per kv head."""
    return HeadLayout(bundle.manifest.model.heads // bundle.manifest.model.kv_heads)


def _check_version(bundle: Bundle) -> None:
    """Raises EdgeError for a bundle that a newer plugin compiled: only newer plugins read older files."""
    need("onnxruntime_qnn")
    made, here = bundle.manifest.tools.get(PLUGIN, ""), installed(PLUGIN) or ""
    try:
        is_older = Version(here) < Version(made)
    except InvalidVersion:  # one of them is unknown
        return
    if is_older:
        raise EdgeError(
            f"{bundle.path} was compiled by {PLUGIN} {made}, here is {here}, which does not read it",
            f"run: pip install '{PLUGIN}>={made}', or compile it here: phantom-edge export --target qnn",
        )

"""Engines of bundles for boards: TensorRT where it is installed, else ONNX Runtime with its TensorRT provider.

On a machine without either, ONNX Runtime's CPU computes the graph node by node: unoptimized, since its optimizations of
quantized layers round activations.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.jetson.runner import ENGINES, BoardError, Engines
from phantom_edge.export.targets.jetson.runner import Bundle as OnBoard
from phantom_edge.export.targets.onnx import trace
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Engine, Floats, Ints
from phantom_edge.runtime.rows import Rows
from phantom_edge.runtime.tracing import Found

TENSORRT = "TensorrtExecutionProvider"


def has_tensorrt() -> bool:
    """True where TensorRT's Python packages are installed."""
    return all(find_spec(package) is not None for package in ("tensorrt", "cuda"))


def engine_of(bundle: Bundle, threads: int) -> Engine:
    """Returns the best engine for this machine."""
    return TrtEngine(bundle) if has_tensorrt() else OrtJetsonEngine(bundle, threads)


@contextmanager
def _for_users() -> Iterator[None]:
    try:
        yield
    except BoardError as error:
        raise EdgeError(error.problem, error.remedy) from error


class TrtEngine:
    """Runs a bundle of target jetson in TensorRT."""

    def __init__(self, bundle: Bundle) -> None:
        self.table = Rows(bundle)
        with _for_users():
            self.engines = Engines(bundle.path)

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine."""
        with _for_users():
            return self.engines.encode_images(pixel_values)

    def embed(self, ids: Ints) -> Floats:
        """See Engine."""
        return self.table[ids]

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        with _for_users():
            return self.engines.forward(embeds, start, keep)


class OrtJetsonEngine(OrtEngine):
    """Runs a bundle of target jetson in ONNX Runtime; with its TensorRT provider the cache is copied at every step."""

    def _model(self, path: Path, options: Any) -> str | bytes:
        if TENSORRT not in self.ort.get_available_providers():
            options.graph_optimization_level = self.ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return str(path)

    def _providers(self, path: Path) -> list[Any]:
        if TENSORRT not in self.ort.get_available_providers():
            return super()._providers(path)
        return [(TENSORRT, provider_options(path)), "CUDAExecutionProvider", "CPUExecutionProvider"]


def provider_options(path: Path) -> dict[str, str]:
    """Options of a graph: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.

    The provider itself caches engines, and builds them anew for another version or board.
    """
    bundle = OnBoard(path.parent)
    found = {
        "trt_max_workspace_size": str(bundle.board["workspace_megabytes"] << 20),
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(bundle.folder / ENGINES),
        "trt_fp16_enable": "True",
    }
    profiles = bundle.profiles(path.stem)
    if profiles:
        for place, name in enumerate(("min", "opt", "max")):
            shapes = [f"{one}:{'x'.join(map(str, sizes[place]))}" for one, sizes in profiles[0].items()]
            found[f"trt_profile_{name}_shapes"] = ",".join(shapes)
    return found


def traced(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    """See Pass."""
    if has_tensorrt():
        raise EdgeError(
            "TensorRT reports times of layers only in trtexec --dumpProfile", "leave it out: --no-operators"
        )
    return trace.traced(OrtJetsonEngine(bundle, threads, folder), depths)

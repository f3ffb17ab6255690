"""Engine of a bundle for ONNX Runtime Web: its graphs in ONNX Runtime on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.export.targets.onnx import trace
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.web.facts import WASM, WEBGPU, forms_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.tracing import Found


class FirstRowEngine(OrtEngine):
    """An OrtEngine that computes as WebGPU does: the cache begins with the rows of the first token in the bundle.

    And DequantizeLinear stays as it is, where the CPU would round what is multiplied by its output (and where ONNX
    Runtime 1.31 makes a graph that does not run, on an x86 CPU without VNNI).
    """

    def __init__(self, bundle: Bundle, threads: int = 0, traces: Path | None = None) -> None:
        super().__init__(bundle, threads, traces)
        first = bundle.manifest.cache.first_row
        if first is None:
            raise EdgeError(f"{bundle.path} has no rows of the first token", AGAIN)
        content, start = bundle.file(first.file).read_bytes(), 0
        self.first: dict[str, Floats] = {}
        for name, rows in self.cache.items():
            stored = np.frombuffer(content, rows.dtype.newbyteorder("<"), rows.shape[1], start)
            self.first[name], start = stored, start + stored.nbytes

    def _model(self, path: Path, options: Any) -> str | bytes:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        return super()._model(path, options)

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine. The graph computes the first token for its logits alone, and only where these are kept."""
        if start > 0:
            return super().forward(embeds, start, keep)
        found = np.zeros((len(keep), self.manifest.model.vocab_size), np.float32)
        is_first = keep == 0
        if is_first.any():
            found[is_first] = super().forward(embeds[:1], 0, keep[is_first])
        for name, row in self.first.items():
            self.cache[name][0] = row
        if len(embeds) > 1:
            found[~is_first] = super().forward(embeds[1:], 1, keep[~is_first] - 1)
        return found


KINDS: dict[str, type[OrtEngine]] = {WASM: OrtEngine, WEBGPU: FirstRowEngine}
"""Engines by form."""


def engine_of(bundle: Bundle, threads: int, traces: Path | None = None) -> OrtEngine:
    """Returns the engine of a bundle's first form: that of WASM, if it is there."""
    name, form = next(iter(forms_of(bundle).items()))
    return KINDS[name](form, threads, traces)


def traced(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    """See Pass."""
    return trace.traced(engine_of(bundle, threads, folder), depths)

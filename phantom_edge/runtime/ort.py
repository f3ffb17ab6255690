"""ONNX Runtime: every kv head's cache is one array, whose filled part goes in and whose next rows come out in place."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_edge.errors import EdgeError, need
from phantom_edge.export.bundle.folder import Bundle
from phantom_edge.runtime.engine import Floats, Ints

Buffers = dict[str, NDArray[Any]]


class OrtEngine:
    """Runs a bundle of target onnx on the CPU. ``threads`` 0 lets ONNX Runtime choose."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.ort = need("onnxruntime", "ort")
        self.manifest = bundle.manifest
        self.threads = threads
        parts = self.manifest.parts
        self.vision = self._session(bundle.file(parts["vision"].file))
        self.decoder = self._session(bundle.file(parts["decoder"].file))
        self.dtype = np.dtype(self.manifest.cache.dtype)
        table = self.manifest.embedding
        self.table: NDArray[Any] = np.memmap(
            bundle.file(table.file), np.dtype(table.dtype), "r", table.offset, (table.rows, table.width)
        )
        cache = self.manifest.cache
        widths = {"key": cache.key_widths, "value": cache.value_widths}
        self.cache: Buffers = {
            f"{what}.{layer}.{head}": np.zeros((cache.max_context, widths[what][layer]), self.dtype)
            for layer in range(cache.layers)
            for head in range(cache.kv_heads)
            for what in ("key", "value")
        }

    def _session(self, path: Path) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        try:
            return self.ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _errors(self.ort) as error:
            raise EdgeError(
                f"ONNX Runtime {self.ort.__version__} does not load {path} ({' '.join(str(error).split())[:200]})",
                "see: phantom-edge doctor",
            ) from error

    def see(self, pixel_values: Floats) -> Floats:
        """Tiles (T, 3, S, S) to image tokens."""
        (tokens,) = self.vision.run(None, {"pixel_values": pixel_values.astype(self.dtype)})
        return np.asarray(tokens, np.float32)

    def embed(self, ids: Ints) -> Floats:
        """Rows of the embedding table."""
        return np.asarray(self.table[ids], np.float32)

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        count = len(embeds)
        assert start + count <= self.manifest.cache.max_context
        binding = self.decoder.io_binding()
        binding.bind_cpu_input("inputs_embeds", np.ascontiguousarray(embeds, self.dtype))
        binding.bind_cpu_input("position_ids", np.arange(start, start + count, dtype=np.int64)[None])
        binding.bind_cpu_input("logits_to_keep", np.ascontiguousarray(keep, np.int64))
        binding.bind_output("logits")  # outputs come back in the order of binding
        for name, rows in self.cache.items():
            address, row = rows.ctypes.data, rows.strides[0]
            binding.bind_input(f"past_{name}", "cpu", 0, self.dtype, (start, rows.shape[1]), address)
            binding.bind_output(f"new_{name}", "cpu", 0, self.dtype, (count, rows.shape[1]), address + start * row)
        self.decoder.run_with_iobinding(binding)
        return np.asarray(binding.get_outputs()[0].numpy(), np.float32)


def _errors(ort: Any) -> tuple[type[Exception], ...]:
    """onnxruntime's own exceptions, which share no base but Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    found = (getattr(state, name) for name in dir(state))
    return tuple(one for one in found if isinstance(one, type) and issubclass(one, Exception))

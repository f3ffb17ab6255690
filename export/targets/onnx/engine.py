"""Engine of ONNX Runtime: every kv head's cache is one array; its filled part is an input, its next rows an output."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import DRAFT, MANIFEST
from phantom_edge.bundle.numbers import Number
from phantom_edge.bundle.part import Part, Port
from phantom_edge.export.targets.onnx.byte_products import make_exact
from phantom_edge.foundation import huge_pages
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.onnx_runtime import need_onnx_runtime
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.rows import Rows

TYPES: dict[str, Number] = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int8)": "int8",
}
DRAFT_INPUTS = {"hidden", "inputs_embeds"}
DECODER_INPUTS = ("inputs_embeds", "position_ids", "logits_to_keep")
Buffers = dict[str, NDArray[Any]]


class OrtEngine:
    """Runs a bundle of target onnx on the CPU. ``threads`` 0 lets ONNX Runtime choose.

    ``traces`` is a folder for the traces of ONNX Runtime's profiler; see ``end_traces``.
    """

    traces: Path | None = None

    def __init__(self, bundle: Bundle, threads: int = 0, traces: Path | None = None) -> None:
        self.ort = need_onnx_runtime()
        self.manifest = bundle.manifest
        self.threads, self.traces = threads, traces
        parts = self.manifest.parts
        self.dtype = np.dtype(self.manifest.cache.dtype)
        self.run_errors: tuple[type[Exception], ...] = (*errors_of(self.ort), RuntimeError)
        self.table = Rows(bundle)
        cache = self.manifest.cache
        self.blank = int(cache.together)
        buffers = cache.buffers()
        shapes = [(self.blank + cache.max_context, width) for width, _ in buffers.values()]
        arrays = huge_pages.zeros(shapes, [self._stored(dtype) for _, dtype in buffers.values()])
        self.cache: Buffers = dict(zip(buffers, arrays, strict=True))
        fed = {"vision": {"pixel_values"}, "decoder": {*DECODER_INPUTS, *(f"past_{name}" for name in self.cache)}}
        with huge_pages.weights():
            self.vision, self.decoder = (self._loaded(bundle, parts[name], names) for name, names in fed.items())
            self.drafts = self._loaded(bundle, parts[DRAFT], DRAFT_INPUTS) if DRAFT in parts else None
        self.given = ("logits",) if self.drafts is None else ("logits", "hidden")

    def _loaded(self, bundle: Bundle, part: Part, fed: set[str]) -> Any:
        """Opens a part's session. Raises EdgeError where the graph's ports differ from the manifest's."""
        path = bundle.file(part.file)
        session = self._session(path)
        for listed, found in ((part.inputs, session.get_inputs()), (part.outputs, session.get_outputs())):
            ports = tuple(Port(port.name, tuple(port.shape), TYPES.get(port.type, port.type)) for port in found)
            wanted = tuple(replace(port, dtype=self._stored(port.dtype)) for port in listed)
            if ports != wanted or (listed is part.inputs and {port.name for port in ports} != fed):
                raise EdgeError(f"{path} has other inputs or outputs than {bundle.path / MANIFEST} lists", AGAIN)
        return session

    def _session(self, path: Path) -> Any:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        if self.traces is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(self.traces / path.stem)
        if self.manifest.integers is not None:
            make_exact(self.ort, options)
        try:
            return self.ort.InferenceSession(self._model(path, options), options, providers=self._providers(path))
        except errors_of(self.ort) as error:
            raise EdgeError(
                f"ONNX Runtime {self.ort.__version__} does not load {path} ({' '.join(str(error).split())[:200]})",
                "export it again: phantom-edge export; if that does not help: phantom-edge doctor",
            ) from error

    def _providers(self, path: Path) -> list[Any]:
        """Returns execution providers, in order of priority."""
        return ["CPUExecutionProvider"]

    def _model(self, path: Path, options: Any) -> str | bytes:
        """Returns the model to load: a path, or a serialized graph."""
        return str(path)

    def _stored(self, dtype: Number) -> Number:
        """Returns the format in which this engine keeps numbers of the manifest's ``dtype``."""
        return dtype

    def end_traces(self) -> tuple[Path, Path]:
        """Ends profiling and returns the trace files of vision and decoder."""
        assert self.traces is not None
        return Path(self.vision.end_profiling()), Path(self.decoder.end_profiling())

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine; the graph encodes one tile at a time."""
        tiles = pixel_values.astype(self.dtype)
        try:
            seen = [self.vision.run(None, {"pixel_values": tile[None]})[0] for tile in tiles]
        except self.run_errors as error:
            raise _failed("vision", error) from error
        return np.concatenate(seen).astype(np.float32, copy=False)

    def embed(self, ids: Ints) -> Floats:
        """Reads rows of the embedding table."""
        return self.table[ids]

    @cached_property
    def bound(self) -> "Bound":
        """The decoder's binding."""
        return Bound(self.decoder.io_binding(), [Held.of(name, rows) for name, rows in self.cache.items()])

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        return self._given(embeds, start, keep)[0]

    def forward_hidden(self, embeds: Floats, start: int, keep: Ints) -> tuple[Floats, Floats]:
        """See DraftingEngine."""
        logits, hidden = self._given(embeds, start, keep)
        return logits, hidden

    def draft(self, hidden: Floats, token: int) -> Ints:
        """See DraftingEngine."""
        assert self.drafts is not None
        row = self.embed(np.array([token])).astype(self.dtype, copy=False)
        try:
            found = self.drafts.run(None, {"hidden": hidden[None].astype(self.dtype, copy=False), "inputs_embeds": row})
        except self.run_errors as error:
            raise _failed("draft", error) from error
        ids = np.asarray(found[0], np.int64)
        if ids.min() < 0 or ids.max() >= self.manifest.model.vocab_size:
            raise EdgeError("the draft of this bundle proposes tokens that the model does not have", AGAIN)
        return ids

    def _given(self, embeds: Floats, start: int, keep: Ints) -> list[Floats]:
        """Logits and, where the decoder gives them, hidden states; see Engine."""
        count = len(embeds)
        assert start + count <= self.manifest.cache.max_context
        binding, filled = self.bound.binding, self.blank + start
        binding.bind_cpu_input("inputs_embeds", np.ascontiguousarray(embeds, self.dtype))
        binding.bind_cpu_input("position_ids", np.arange(start, start + count, dtype=np.int64)[None])
        binding.bind_cpu_input("logits_to_keep", np.ascontiguousarray(keep, np.int64))
        for name in self.given:
            binding.bind_output(name)
        for one in self.bound.cache:
            behind = one.address + filled * one.row_bytes
            binding.bind_input(one.past, "cpu", 0, one.dtype, (filled, one.width), one.address)
            binding.bind_output(one.new, "cpu", 0, one.dtype, (count, one.width), behind)
        try:
            self.decoder.run_with_iobinding(binding)
        except self.run_errors as error:
            raise _failed("decoder", error) from error
        outputs = binding.get_outputs()[: len(self.given)]  # they come in the order of binding
        return [np.asarray(one.numpy(), np.float32) for one in outputs]


@dataclass(frozen=True)
class Held:
    """Rows of the cache as a decoder's ports: what stays the same from step to step."""

    past: str
    new: str
    address: int
    row_bytes: int
    width: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, name: str, rows: NDArray[Any]) -> Self:
        """The rows (places, width) of the ports called ``name``."""
        return cls(f"past_{name}", f"new_{name}", rows.ctypes.data, rows.strides[0], rows.shape[1], rows.dtype)


@dataclass(frozen=True)
class Bound:
    """A decoder's binding, kept from step to step, and the rows that it is bound to."""

    binding: Any
    cache: list[Held]


def _failed(part: str, error: Exception) -> EdgeError:
    why = " ".join(str(error).split())[:200]
    return EdgeError(f"the {part} of this bundle does not run: {why}", AGAIN)


def errors_of(ort: Any) -> tuple[type[Exception], ...]:
    """Returns onnxruntime's own exceptions, which share no base but Exception."""
    state = ort.capi.onnxruntime_pybind11_state
    found = (getattr(state, name) for name in dir(state))
    return tuple(one for one in found if isinstance(one, type) and issubclass(one, Exception))

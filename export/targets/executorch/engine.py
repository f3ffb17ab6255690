"""Engine of ExecuTorch programs: calls from Python the methods that runners on phones call.

ExecuTorch runs them, or the interpreter of proofs, in the same loop.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part, Port
from phantom_edge.export.interpreters.pte import Interpreter
from phantom_edge.export.interpreters.pte.importing import (
    executorch,
    fused_operators,
    quantized_operators,
)
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Floats, Ints

Run = Callable[[Sequence[Tensor]], Tensor]
"""Calls a method: from inputs to its output."""

LINE = re.compile(r"(\[|E [\d:.]+ executorch:)(?P<file>[\w.]+):\d+\] (?P<what>.*\S)")
"""Line of ExecuTorch's log, from its Python bindings or, once they are loaded, its C++ runners."""

CHATTER = ("cpuinfo_utils.cpp", "operator_registry.cpp")
"""Source files whose log lines report no failure."""

NUMBERS = {"float32": 6, "int64": 4, "uint8": 0}
"""Number format to ExecuTorch's ScalarType."""


class PteEngine:
    """Runs a bundle of target executorch on the CPU. ``threads`` 0 lets ExecuTorch choose.

    A method returns logits of its last token only; for others it is called again with fewer tokens.
    """

    LOADED: tuple[str, ...] = ("vision", "embedding", "decoder")
    """Parts to load."""

    TRACED = False
    """True to record times of operators, where ExecuTorch is built for it."""

    has_loaded: ClassVar[bool] = False
    """True after a program was loaded in this process."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.manifest = bundle.manifest
        self.methods = self._loaded(bundle, {name: self.manifest.parts[name] for name in self.LOADED}, threads)
        pictures = self.manifest.pictures
        self.mean, self.std = (np.array(one).reshape(3, 1, 1) for one in (pictures.mean, pictures.std))

    def _loaded(self, bundle: Bundle, parts: Mapping[str, Part], threads: int) -> Mapping[str, Run]:
        """Loads the methods of parts, by the same names."""
        with captured_stderr() as words:
            fused_operators()
            quantized_operators()
            runtime = executorch("executorch.runtime").Runtime.get()
            _set_threads(threads)
            _check_backends(bundle, parts, runtime.backend_registry)
            PteEngine.has_loaded = True
            path = bundle.file(parts["decoder"].file)
            try:
                program = runtime.load_program(path, enable_etdump=self.TRACED)
                methods = {name: program.load_method(part.function) for name, part in parts.items()}
            except (RuntimeError, KeyError) as error:
                raise EdgeError(f"ExecuTorch does not load {path} ({_reason(words, error)})", AGAIN) from error
        for name, part in parts.items():
            if not _fits(part, program.metadata(part.function)):
                raise EdgeError(
                    f"{name} in {path} has other inputs or outputs than {bundle.path / MANIFEST} lists", AGAIN
                )
        self.program = program  # its methods break without it
        return {name: _executed(name, method) for name, method in methods.items()}

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine; pixels become bytes again, one tile at a time."""
        tiles = np.rint((pixel_values * self.std + self.mean) * 255).clip(0, 255).astype(np.uint8)
        return np.concatenate([self._run("vision", [torch.from_numpy(tile[None])]) for tile in tiles])

    def embed(self, ids: Ints) -> Floats:
        """Reads rows of the embedding table."""
        most = self.manifest.cache.max_context - 1
        parts = (np.ascontiguousarray(ids[start : start + most], np.int64) for start in range(0, len(ids), most))
        return np.concatenate([self._run("embedding", [torch.from_numpy(part)[None]]) for part in parts])

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine; a call for each kept position with all tokens up to it, and one for all; or one per token."""
        assert start + len(embeds) <= self.manifest.cache.max_context
        rows = torch.from_numpy(np.ascontiguousarray(embeds, np.float32))[None]
        kept = {int(one) for one in keep}
        is_one_by_one = self.manifest.parts["decoder"].inputs[0].shape[1] == 1
        ends = range(len(embeds)) if is_one_by_one else sorted(kept | {len(embeds) - 1})
        found: dict[int, Floats] = {}
        for end in ends:
            first = end if is_one_by_one else 0
            logits = self._run("decoder", [rows[:, first : end + 1], torch.tensor([start + first])])[0]
            found |= {end: logits} if end in kept else {}
        vocab = self.manifest.model.vocab_size
        return np.stack([found[int(one)] for one in keep]) if len(keep) else np.zeros((0, vocab), np.float32)

    def _run(self, part: str, inputs: Sequence[Tensor]) -> Floats:
        return np.asarray(self.methods[part](inputs)[0].numpy(), np.float32)


class ExactPteEngine(PteEngine):
    """A PteEngine whose interpreter does not round activations: any remaining error has another cause."""

    def _loaded(self, bundle: Bundle, parts: Mapping[str, Part], threads: int) -> Mapping[str, Run]:
        if threads:
            torch.set_num_threads(threads)
        program = Interpreter.open(bundle.file(parts["decoder"].file))
        return {name: _interpreted(program, part.function) for name, part in parts.items()}


def _executed(part: str, method: Any) -> Run:
    """By ExecuTorch."""

    def run(inputs: Sequence[Tensor]) -> Tensor:
        with captured_stderr() as words:
            try:
                (found,) = method.execute(inputs)
            except RuntimeError as error:
                raise EdgeError(f"the {part} of this bundle does not run ({_reason(words, error)})", AGAIN) from error
        assert isinstance(found, Tensor)
        return found

    return run


def _interpreted(program: Interpreter, function: str) -> Run:
    """Returns a function that the interpreter runs."""
    method = program.method(function)

    def run(inputs: Sequence[Tensor]) -> Tensor:
        (found,) = method.run(inputs, rounds=False)
        return found

    return run


def _set_threads(threads: int) -> None:
    """Sets the threads of the pool that all programs of a process share; 0 changes nothing.

    Raises EdgeError for another number once a program is loaded: that would break it (hence ExecuTorch's "unsafe").
    """
    lib = executorch("executorch.extension.pybindings.portable_lib")
    known = lib._threadpool_get_thread_count()
    if not threads or threads == known:
        return
    if PteEngine.has_loaded:
        raise EdgeError(
            f"ExecuTorch has {known} threads in this process, and cannot have {threads} after a program was loaded",
            "give every session of a process the same number of threads",
        )
    lib._unsafe_reset_threadpool(threads)


def _check_backends(bundle: Bundle, parts: Mapping[str, Part], registry: Any) -> None:
    for part in parts.values():
        if part.delegation is not None and not registry.is_available(part.delegation.backend):
            there = ", ".join(registry.registered_backend_names)
            raise EdgeError(
                f"{bundle.path} is made for {part.delegation.backend}, and ExecuTorch here has {there}",
                "run it on its device, or export it for the CPU: --backend xnnpack",
            )


def _fits(part: Part, meta: Any) -> bool:
    """True where a method's ports are those of the manifest; ExecuTorch reports moving dimensions by upper bounds."""
    listed = [*part.inputs, *part.outputs]
    found = [
        *(meta.input_tensor_meta(number) for number in range(meta.num_inputs())),
        *(meta.output_tensor_meta(number) for number in range(meta.num_outputs())),
    ]
    return len(listed) == len(found) and all(
        _same(port, one.sizes(), one.dtype()) for port, one in zip(listed, found, strict=True)
    )


def _same(port: Port, sizes: Sequence[int], dtype: int) -> bool:
    return (
        NUMBERS.get(port.dtype) == dtype
        and len(port.shape) == len(sizes)
        and all(isinstance(one, str) or one == size for one, size in zip(port.shape, sizes, strict=True))
    )


def _reason(words: Any, error: Exception) -> str:
    """Returns the first log line of a failure, which is nearest to its cause, else the error's own message."""
    words.seek(0)
    lines = map(LINE.match, words.read().decode(errors="replace").splitlines())
    found = [line["what"] for line in lines if line is not None and line["file"] not in CHATTER]
    return (found[0] if found else " ".join(str(error).split()))[:200]

"""Graphs bound to arrays: a run reads its inputs from them and writes its outputs to them."""

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.litert.importing import compiled_models
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.errors import EdgeError

IN_MEMORY = ":memory"
"""XNNPACK's name of a cache of rearranged weights without a file: the graphs of a model share one copy."""

NUMBERS: dict[str, type[np.generic]] = {"float32": np.float32, "int32": np.int32}


class Run(Protocol):
    """Runs a graph over the arrays that it was bound to."""

    def __call__(self) -> None:
        """Raises EdgeError where the runtime fails."""


Bind = Callable[[Part, Mapping[str, Array], Mapping[str, Array], Collection[str]], Run]
"""Binds the arrays of inputs and outputs, by their names, to a part's graph; those of the names in the last argument
pass from graph to graph, and no caller reads or writes them."""


class Bound:
    """A part's graph with its arrays; ``shared`` are those that other graphs read and write, too."""

    def __init__(self, part: Part, shared: Mapping[str, Array], bind: Bind) -> None:
        self.inputs, self.outputs = (
            {
                port.name: shared[port.name]
                if port.name in shared
                else np.zeros([int(side) for side in port.shape], NUMBERS[port.dtype])
                for port in ports
            }
            for ports in (part.inputs, part.outputs)
        )
        for port in (*part.inputs, *part.outputs):
            if port.name in shared and shared[port.name].shape != port.shape:
                raise EdgeError(f"{port.name} of {part.function} has another shape than in other graphs", AGAIN)
        self.run = bind(part, self.inputs, self.outputs, shared.keys())


def litert(file_of: Callable[[str], Path], threads: int, *, gpu: bool = False) -> Bind:
    """Returns the way to LiteRT: with XNNPACK on the CPU (``threads`` 0 lets it choose), or with its delegate for GPUs.

    Shared arrays are LiteRT's own buffers, which one graph hands to the next. Raises EdgeError, when a part is bound,
    where LiteRT does not load its file or finds other ports in it.
    """
    loading = _Loading(threads, gpu=gpu)

    def bind(part: Part, inputs: Mapping[str, Array], outputs: Mapping[str, Array], shared: Collection[str]) -> Run:
        path = file_of(part.file)
        model = loading.model(path)
        _check_ports(part, model, path)
        given, found = (
            {name: loading.buffer(array, partial(make, part.function, name)) for name, array in arrays.items()}
            for arrays, make in (
                (inputs, model.create_input_buffer_by_name),
                (outputs, model.create_output_buffer_by_name),
            )
        )

        def run() -> None:
            for name in inputs.keys() - shared:
                given[name].write(inputs[name])
            try:
                loading.models[path].run_by_name(part.function, given, found)
            except RuntimeError as error:
                raise EdgeError(f"{part.file} does not run ({_short(error)})", AGAIN) from error
            for name in outputs.keys() - shared:
                array = outputs[name]
                np.copyto(array, found[name].read(array.size, array.dtype).reshape(array.shape))

        return run

    return bind


class _Loading:
    """Loads files once, in one environment, and makes one buffer of an array."""

    def __init__(self, threads: int, *, gpu: bool) -> None:
        module = self.module = compiled_models()
        kind = module.HardwareAccelerator
        self.options = module.Options(
            hardware_accelerators=kind.GPU if gpu else kind.CPU,
            cpu_options=module.CpuOptions(num_threads=threads, xnnpack_weight_cache_path=IN_MEMORY),
            gpu_options=module.GpuOptions(enforce_f32=True),
        )
        self.models: dict[Path, Any] = {}
        self.buffers: dict[int, tuple[Array, Any]] = {}  # with the arrays, whose addresses are the keys
        weakref.finalize(self, _close, self.models, self.buffers)
        _be_silent_at_the_end()

    def model(self, path: Path) -> Any:
        """Returns the model in a file."""
        if path not in self.models:
            first = next(iter(self.models.values()), None)
            with captured_stderr():
                try:
                    self.models[path] = self.module.CompiledModel.from_file(
                        str(path), environment=None if first is None else first.environment, options=self.options
                    )
                except RuntimeError as error:
                    raise EdgeError(f"LiteRT does not load {path} ({_short(error)})", AGAIN) from error
        return self.models[path]

    def buffer(self, array: Array, make: Callable[[], Any]) -> Any:
        """Returns the buffer of an array, made and filled where there is none."""
        if id(array) not in self.buffers:
            with captured_stderr():
                self.buffers[id(array)] = array, make()
                self.buffers[id(array)][1].write(array)
        return self.buffers[id(array)][1]


@cache
def _be_silent_at_the_end() -> None:
    atexit.register(_be_silent)  # once: what is registered again would run before what others registered meanwhile


def _be_silent() -> None:
    """Discards what the process still writes to stderr: LiteRT's destructors log behind Python's end."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _close(models: dict[Path, Any], buffers: dict[int, tuple[Array, Any]]) -> None:
    """Closes models and buffers: at the end of the process they would write log messages over the program's own."""
    with captured_stderr():
        for _, buffer in buffers.values():
            buffer.destroy()
        for model in models.values():
            model.close()
            model.environment.close()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_ports(part: Part, model: Any, path: Path) -> None:
    """Raises EdgeError where a signature has other ports than the manifest lists."""
    names = model.get_signature_list().get(part.function)
    listed = [sorted(port.name for port in ports) for ports in (part.inputs, part.outputs)]
    if names is None or [sorted(names["inputs"]), sorted(names["outputs"])] != listed:
        raise EdgeError(f"{part.function} in {path} has other ports than {MANIFEST} lists", AGAIN)
    details = (model.get_input_tensor_details(part.function), model.get_output_tensor_details(part.function))
    for ports, found in zip((part.inputs, part.outputs), details, strict=True):
        for port in ports:
            if tuple(found[port.name]["shape"]) != port.shape:
                raise EdgeError(f"{port.name} of {part.function} in {path} is not {port.shape}", AGAIN)

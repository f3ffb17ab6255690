"""Graphs bound to arrays: a run reads its inputs from them and writes its outputs to them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part
from phantom_edge.export.interpreters.pte.importing import captured_stderr
from phantom_edge.export.targets.litert.importing import compiled_models
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.foundation.errors import EdgeError

NUMBERS: dict[str, type[np.generic]] = {"float32": np.float32, "int32": np.int32}


class Run(Protocol):
    """Runs a graph over the arrays that it was bound to."""

    def __call__(self) -> None:
        """Raises EdgeError where the runtime fails."""


Bind = Callable[[Part, Mapping[str, Array], Mapping[str, Array]], Run]
"""Binds the arrays of inputs and outputs, by their names, to a part's graph."""


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
        self.run = bind(part, self.inputs, self.outputs)


def litert(file_of: Callable[[str], Path], threads: int) -> Bind:
    """Returns the way to LiteRT on the CPU, with XNNPACK; ``threads`` 0 lets it choose.

    An array that is input and output is LiteRT's own buffer, which one graph hands to the next. Raises EdgeError, when
    a part is bound, where LiteRT does not load its file or finds other ports in it.
    """
    loading = _Loading(threads)
    buffers: dict[int, tuple[Array, Any]] = {}  # with the arrays, whose addresses are the keys

    def bind(part: Part, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> Run:
        path = file_of(part.file)
        model = loading.model(path)
        _check_ports(part, model, path)
        for ports, make in (
            (inputs, model.create_input_buffer_by_name),
            (outputs, model.create_output_buffer_by_name),
        ):
            for name, array in ports.items():
                if id(array) not in buffers:
                    buffers[id(array)] = array, make(part.function, name)
                    buffers[id(array)][1].write(array)
        given, found = ({name: buffers[id(one)][1] for name, one in ports.items()} for ports in (inputs, outputs))
        kept = inputs.keys() & outputs.keys()

        def run() -> None:
            for name in inputs.keys() - kept:
                given[name].write(inputs[name])
            try:
                model.run_by_name(part.function, given, found)
            except RuntimeError as error:
                raise EdgeError(f"{part.file} does not run ({_short(error)})", AGAIN) from error
            for name in outputs.keys() - kept:
                array = outputs[name]
                np.copyto(array, found[name].read(array.size, array.dtype).reshape(array.shape))

        return run

    return bind


class _Loading:
    """Loads files once, in one environment."""

    def __init__(self, threads: int) -> None:
        module = self.module = compiled_models()
        self.options = module.Options(
            hardware_accelerators=module.HardwareAccelerator.CPU, cpu_options=module.CpuOptions(num_threads=threads)
        )
        self.models: dict[Path, Any] = {}

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

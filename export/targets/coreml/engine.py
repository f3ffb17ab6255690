"""Engine of Core ML packages: Core ML runs them on a Mac, elsewhere the interpreter of proofs.

The loop around the functions (``steps``) is the same on both.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part, Port
from phantom_edge.export.interpreters.mil.hazards import Hazards
from phantom_edge.export.interpreters.mil.importing import coremltools
from phantom_edge.export.interpreters.mil.interpreter import Interpreter, Mode
from phantom_edge.export.interpreters.mil.package import Package
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.host import layout_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.steps import Arrays, Function, StepsEngine

WATCHED = 24
"""Number of a function's runs that are checked for hazards: a checked run takes several times as long."""


class Interpreted:
    """A function in the interpreter; its first runs are checked for hazards where ``hazards`` is given."""

    def __init__(self, package: Package, function: str | None, mode: Mode, hazards: Hazards | None = None) -> None:
        self.interpreter = Interpreter(package, function, mode)
        self.watching = None if hazards is None else Interpreter(package, function, mode, hazards)
        self.states: dict[str, torch.Tensor] | None = None
        self.runs = 0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        watching = self.watching if self.runs < WATCHED else None
        self.runs += 1
        found = (watching or self.interpreter).run(tensors, self.states)
        return {name: tensor.numpy() for name, tensor in found.items()}


class Compiled:
    """A function in Core ML, on the bundle's compute units."""

    def __init__(self, path: Path, function: str | None, units: str) -> None:
        ct = coremltools()
        self.model = ct.models.MLModel(str(path), function_name=function, compute_units=getattr(ct.ComputeUnit, units))
        self.state: Any = None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        given = {
            name: array.astype(np.int32 if array.dtype.kind == "i" else np.float16) for name, array in inputs.items()
        }
        found = self.model.predict(given) if self.state is None else self.model.predict(given, state=self.state)
        return {name: np.asarray(array, np.float32) for name, array in found.items()}


UNITS = {"gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE"}


class CoreMlEngine(StepsEngine):
    """Runs a bundle of target coreml, in Core ML on a Mac if ``apple``, else in the interpreter's ``mode``.

    ``hazards`` are those of every part, if ``watch``.
    """

    def __init__(
        self, bundle: Bundle, threads: int = 0, mode: Mode = "fp16", *, watch: bool = False, apple: bool = True
    ) -> None:
        facts = bundle.facts(AppleFacts)
        if threads:
            torch.set_num_threads(threads)
        parts = bundle.manifest.parts
        self.hazards = {name: Hazards() for name in parts} if watch else {}
        functions = _compiled(bundle, facts) if apple and is_mac() else _interpreted(bundle, mode, self.hazards)
        super().__init__(bundle, functions, parts["decoder"].inputs, layout_of(facts), facts)


def _compiled(bundle: Bundle, facts: AppleFacts) -> dict[str, Function]:
    parts = bundle.manifest.parts
    found = {
        name: Compiled(bundle.path / part.file, part.function or None, UNITS[facts.compute])
        for name, part in parts.items()
    }
    if parts["decoder"].states:
        found["decoder"].state = found["prefill"].state = found["decoder"].model.make_state()
    return dict(found)


def _interpreted(bundle: Bundle, mode: Mode, hazards: Mapping[str, Hazards]) -> dict[str, Function]:
    packages: dict[str, Package] = {}
    found: dict[str, Interpreted] = {}
    for name, part in bundle.manifest.parts.items():
        if part.file not in packages:
            packages[part.file] = Package.open(bundle.path / part.file)
        _check_ports(packages[part.file], part, bundle.path)
        found[name] = Interpreted(packages[part.file], part.function or None, mode, hazards.get(name))
    found["decoder"].states = found["prefill"].states = found["decoder"].interpreter.states()
    return dict(found)


def is_mac() -> bool:
    """True where Core ML is available."""
    return sys.platform == "darwin"


def _check_ports(package: Package, part: Part, folder: Path) -> None:
    """Raises EdgeError where a function's ports differ from the manifest's."""
    known = package.functions
    name = part.function or next(iter(known))
    if name in known:
        one = known[name]
        pairs = ((part.inputs, one.inputs), (part.outputs, one.outputs), (part.states, one.states))
        if all(_same(listed, found) for listed, found in pairs):
            return
    raise EdgeError(
        f"{folder / part.file} has other functions, inputs or outputs than {folder / MANIFEST} lists", AGAIN
    )


def _same(ports: tuple[Port, ...], found: Any) -> bool:
    return {(port.name, tuple(port.shape), port.dtype) for port in ports} == {
        (one.name, tuple(one.shape), one.dtype) for one in found
    }

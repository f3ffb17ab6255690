"""Core ML packages: run by Core ML on a Mac, and elsewhere by the interpreter that proves them.

The loop around the functions is the same on both, and the one that an app runs: chunks that are filled up, masks, rows
of rotations, and a cache that is state or that the host writes.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from phantom_edge.errors import EdgeError
from phantom_edge.export.bundle.folder import AGAIN, Bundle
from phantom_edge.export.bundle.manifest import MANIFEST, Part, Port
from phantom_edge.export.mil.hazards import Hazards
from phantom_edge.export.mil.importing import coremltools
from phantom_edge.export.mil.interpreter import Interpreter, Mode
from phantom_edge.export.mil.package import Package
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.rows import Rows

Arrays = dict[str, NDArray[Any]]


class Function(Protocol):
    """A loaded function of a package."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Outputs by name; states are its own and those of the other functions of its package."""


class Interpreted:
    """A function that the interpreter runs."""

    def __init__(self, package: Package, part: Part, mode: Mode, watch: Hazards | None) -> None:
        self.interpreter = Interpreter(package, part.function or None, mode, watch)
        self.states: dict[str, torch.Tensor] | None = None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}
        found = self.interpreter.run(tensors, self.states)
        return {name: tensor.numpy() for name, tensor in found.items()}


class Compiled:
    """A function that Core ML runs, on the units that the bundle was made for."""

    def __init__(self, path: Path, part: Part, units: str) -> None:
        ct = coremltools()
        self.model = ct.models.MLModel(
            str(path), function_name=part.function or None, compute_units=getattr(ct.ComputeUnit, units)
        )
        self.state: Any = None

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        given = {
            name: array.astype(np.int32 if array.dtype.kind == "i" else np.float16) for name, array in inputs.items()
        }
        found = self.model.predict(given) if self.state is None else self.model.predict(given, state=self.state)
        return {name: np.asarray(array, np.float32) for name, array in found.items()}


UNITS = {"gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE"}


class CoreMlEngine:
    """Runs a bundle of target coreml. ``mode`` and ``watch`` are the interpreter's; Core ML itself knows one mode."""

    def __init__(
        self, bundle: Bundle, threads: int = 0, mode: Mode = "fp16", watch: Hazards | None = None, *, apple: bool = True
    ) -> None:
        manifest, fixed = bundle.manifest, bundle.manifest.fixed
        assert fixed is not None
        if threads:
            torch.set_num_threads(threads)
        self.manifest, self.fixed, self.mode = manifest, fixed, mode
        self.context, self.chunk = manifest.cache.max_context, manifest.prefill_chunk
        self.is_gpu = fixed.compute == "gpu"
        self.table = Rows(bundle)
        half = manifest.model.head_dim // 2
        self.rotary = np.memmap(bundle.file(fixed.rotary), np.float32, "r", shape=(2, self.context, half))
        self.functions = self._compiled(bundle) if apple and is_mac() else self._interpreted(bundle, watch)
        self.cache: Arrays = {
            port.name: np.zeros([int(side) for side in port.shape], np.float32)
            for port in manifest.parts["decoder"].inputs
            if port.name.startswith("past_")
        }

    def _compiled(self, bundle: Bundle) -> dict[str, Function]:
        units = UNITS[self.fixed.compute]
        parts = self.manifest.parts
        found = {name: Compiled(bundle.path / part.file, part, units) for name, part in parts.items()}
        if parts["decoder"].states:
            found["decoder"].state = found["prefill"].state = found["decoder"].model.make_state()
        return dict(found)

    def _interpreted(self, bundle: Bundle, watch: Hazards | None) -> dict[str, Function]:
        packages: dict[str, Package] = {}
        found: dict[str, Interpreted] = {}
        for name, part in self.manifest.parts.items():
            if part.file not in packages:
                packages[part.file] = Package.open(bundle.path / part.file)
            _check_ports(packages[part.file], part, bundle.path)
            found[name] = Interpreted(packages[part.file], part, self.mode, watch)
        found["decoder"].states = found["prefill"].states = found["decoder"].interpreter.states()
        return dict(found)

    def see(self, pixel_values: Floats) -> Floats:
        """See Engine; one tile at a time."""
        found = [self._run("vision", {"pixel_values": tile[None]})["image_tokens"] for tile in pixel_values]
        tokens = [one[0] if self.is_gpu else one[0, :, 0].T for one in found]
        return np.concatenate(tokens).astype(np.float32)

    def embed(self, ids: Ints) -> Floats:
        """Rows of the embedding table."""
        return self.table[ids]

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine; in chunks where one fits into what is left of the cache, else token by token."""
        count = len(embeds)
        assert start + count <= self.context
        wanted = set(keep.tolist())
        logits: dict[int, Floats] = {}
        done = 0
        while done < count:
            here, rows = start + done, embeds[done : done + self.chunk]
            if len(rows) > 1 and here + self.chunk <= self.context:
                hidden = self._step("prefill", rows, here, self.chunk)["hidden"]
                for place in sorted(wanted & set(range(done, done + len(rows)))):
                    row = place - done
                    logits[place] = self._words(
                        self._run(
                            "head", {"hidden": hidden[:, row : row + 1] if self.is_gpu else hidden[..., row : row + 1]}
                        )
                    )
            else:
                rows = rows[:1]
                logits[done] = self._words(self._step("decoder", rows, here, 1))
            done += len(rows)
        return np.array([logits[place] for place in keep.tolist()], np.float32).reshape(len(keep), -1)

    def _step(self, part: str, rows: Floats, start: int, tokens: int) -> Arrays:
        """Outputs of a function that reads ``tokens``, of which ``rows`` are real; they enter the cache."""
        real = len(rows)
        fed = np.zeros((tokens, rows.shape[1]), np.float32)
        fed[:real] = rows
        places = np.minimum(np.arange(start, start + tokens), self.context - 1)
        cosines, sines = (np.asarray(table[places]) for table in self.rotary)
        mask = self._mask(start, tokens)
        inputs: Arrays
        if self.is_gpu:
            inputs = {
                "inputs_embeds": fed[None],
                "cosines": cosines[None, None],
                "sines": sines[None, None],
                "mask": mask[None, None],
                "start": np.array([start], np.int32),
            }
        else:
            inputs = {
                "inputs_embeds": fed.T[None, :, None],
                "cosines": cosines.T[None, :, None],
                "sines": sines.T[None, :, None],
                "mask": mask.T[None, :, None],
                **self.cache,
            }
        found = self._run(part, inputs)
        for name, rows_out in found.items():
            if name.startswith("new_key"):
                self.cache[f"past{name[3:]}"][:, start : start + real] = rows_out[:, :real]
            elif name.startswith("new_value"):
                self.cache[f"past{name[3:]}"][..., start : start + real] = rows_out[..., :real]
        return found

    def _mask(self, start: int, tokens: int) -> Floats:
        """(tokens, keys): keys are the cache's places, and where it is not state behind them the tokens themselves."""
        own = np.arange(start, start + tokens)
        cached = np.arange(self.context)
        keys = cached if self.is_gpu else np.concatenate([cached, own])
        looks = keys[None] <= own[:, None]
        if not self.is_gpu:
            looks[:, : self.context] &= cached[None] < start
        if self.fixed.window is not None:
            looks &= keys[None] > own[:, None] - self.fixed.window
        return np.where(looks, np.float32(0), np.float32(self.fixed.masked))

    def _words(self, found: Arrays) -> Floats:
        """Logits (vocab,), pieced together."""
        pieces = sorted((name for name in found if name.startswith("logits")), key=lambda name: (len(name), name))
        words = np.concatenate([found[name].ravel() for name in pieces])
        return words[: self.manifest.model.vocab_size]

    def _run(self, part: str, inputs: Arrays) -> Arrays:
        if self.mode != "exact":
            inputs = {
                name: array if array.dtype.kind == "i" else array.astype(np.float16).astype(np.float32)
                for name, array in inputs.items()
            }
        return self.functions[part].run(inputs)


def is_mac() -> bool:
    """Whether Core ML is there."""
    return sys.platform == "darwin"


def _check_ports(package: Package, part: Part, folder: Path) -> None:
    """EdgeError where a function's ports are not those that the manifest lists."""
    known = package.functions
    name = part.function or next(iter(known))
    if name in known:
        found = known[name]
        listed = (part.inputs, part.outputs, part.states)
        if all(
            _same(ports, one) for ports, one in zip(listed, (found.inputs, found.outputs, found.states), strict=True)
        ):
            return
    raise EdgeError(f"{folder / part.file} has other functions, inputs or outputs than {folder / MANIFEST} says", AGAIN)


def _same(ports: tuple[Port, ...], found: Any) -> bool:
    return {(port.name, tuple(port.shape), port.dtype) for port in ports} == {
        (one.name, tuple(one.shape), one.dtype) for one in found
    }

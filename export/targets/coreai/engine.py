"""Engine of Core AI assets, an experiment: Apple's own package runs them, on Linux in its interpreter.

The loop around the functions (``steps``) is that of Core ML's packages.
"""

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part, Port
from phantom_edge.export.targets.coreai.importing import coreai, quiet
from phantom_edge.export.targets.coreai.precision import Mode, set_mode
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.host import layout_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.steps import Arrays, Function, StepsEngine

T = TypeVar("T")


@cache
def loop() -> asyncio.AbstractEventLoop:
    """Returns an event loop in a thread of its own: Core AI's functions are always coroutines."""
    found = asyncio.new_event_loop()
    threading.Thread(target=found.run_forever, daemon=True).start()
    return found


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine and returns its result."""
    return asyncio.run_coroutine_threadsafe(work, loop()).result()


class Loaded:
    """A function of an asset."""

    def __init__(self, function: Any, array: Any, dtype: type[np.floating[Any]]) -> None:
        self.function, self.array, self.dtype = function, array, dtype

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """See Function."""
        given = {name: self.array(np.ascontiguousarray(one, self.dtype)) for name, one in inputs.items()}
        found = wait_for(self.function(inputs=given))
        return {name: np.array(one.numpy(), np.float32) for name, one in found.items()}


class CoreAiEngine(StepsEngine):
    """Runs a bundle of target coreai; ``mode`` as in ``set_mode``.

    Apple's interpreter gives no access inside operators: ``watch`` and ``apple`` have no effect. Nor have ``threads``:
    the interpreter has no such setting.
    """

    def __init__(
        self, bundle: Bundle, threads: int = 0, mode: Mode = "fp16", *, watch: bool = False, apple: bool = True
    ) -> None:
        facts, parts = bundle.facts(AppleFacts), bundle.manifest.parts
        super().__init__(bundle, load(bundle.path, parts, mode), parts["decoder"].inputs, layout_of(facts), facts)


def load(folder: Path, parts: Mapping[str, Part], mode: Mode) -> dict[str, Function]:
    """Loads the functions of a bundle's assets.

    Raises EdgeError for a damaged asset, or one with other ports than its part.
    """
    array = coreai("coreai.runtime").NDArray
    models = {file: wait_for(_opened(folder / file, mode)) for file in {part.file for part in parts.values()}}
    found: dict[str, Function] = {}
    for name, part in parts.items():
        model, function = models[part.file], part.function or "main"
        known = model.load_function(function) if function in model.function_names else None
        if known is None or not _fits(part, known.desc, mode):
            raise EdgeError(
                f"{folder / part.file} has other functions, inputs or outputs than {folder / MANIFEST} lists", AGAIN
            )
        found[name] = Loaded(known, array, np.float32 if mode == "smooth" else np.float16)
    return found


async def _opened(path: Path, mode: Mode) -> Any:
    """Loads a model from the bundle's asset, or from a copy rewritten for the mode, into memory."""
    asset_type = coreai("coreai.authoring").AIModelAsset
    _check_program(path)
    try:
        asset = asset_type.load(path)
        with tempfile.TemporaryDirectory() as folder:
            if mode != "strict":
                program = asset.program
                set_mode(program, mode)
                with quiet():
                    asset = program.save_asset(Path(folder) / path.name)
            async with asset.executable() as model:
                return model
    except RuntimeError as error:
        raise EdgeError(f"{path} cannot be read: {error}", AGAIN) from error


def _check_program(path: Path) -> None:
    """Raises EdgeError for a program that differs from its hash: Apple's reader would end the process."""
    program, digest = (path / name for name in ("main.mlirb", "main.hash"))
    try:
        if hashlib.sha256(program.read_bytes()).digest() == digest.read_bytes():
            return
    except OSError as error:
        raise EdgeError(f"{path} cannot be read: {error}", AGAIN) from error
    raise EdgeError(f"{program} is damaged", AGAIN)


def _fits(part: Part, described: Any, mode: Mode) -> bool:
    pairs = (
        (part.inputs, described.input_names, described.input_descriptor),
        (part.outputs, described.output_names, described.output_descriptor),
    )
    return all(
        {_expected(port, mode) for port in ports}
        == {(name, tuple(about(name).shape), str(about(name).dtype)) for name in names}
        for ports, names, about in pairs
    )


def _expected(port: Port, mode: Mode) -> tuple[str, tuple[int | str, ...], str]:
    return port.name, tuple(port.shape), "float32" if mode == "smooth" else port.dtype

"""Profiles of operators by ExecuTorch's event tracer, where ExecuTorch is built with it.

Its names identify kernels, not layers: the products with the weights of attention, phantom maps, MLP and head are one
group, and all other kernels another.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.node_names import PATCHES
from phantom_edge.export.targets.executorch.engine import PteEngine
from phantom_edge.export.targets.executorch.etdump import read_etdump
from phantom_edge.foundation.captured import captured_stderr
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.versions import installed
from phantom_edge.runtime.tracing import OTHER, TILE, Dump, Found, Group, Traced, behind, chunk_named, token_named

FEW, MANY = 3, 9
"""Number of steps of a tile or a chunk, and of a token, after a warm-up step."""

LINEAR, EMBEDDING = "products with weights", "embedding"
STARTS = {"embedding": EMBEDDING, "Fully Connected": LINEAR, "Convolution": PATCHES}
"""Groups by the beginning of kernels' names."""


class TracedPteEngine(PteEngine):
    """PteEngine with the event tracer."""

    TRACED = True

    def end_traces(self, folder: Path) -> Dump:
        """Returns the dump without the first run. Raises EdgeError where ExecuTorch is built without its tracer."""
        path = folder / "run.etdp"
        path.unlink(missing_ok=True)
        with captured_stderr():
            self.program.write_etdump_result_to_file(str(path), str(folder / "debug.bin"))
        if not path.exists():
            raise EdgeError(
                f"ExecuTorch {installed('executorch')} is built without its event tracer; the wheel of 1.5.1 has it",
                "leave it out: --no-operators",
            )
        return read_etdump(path, skipped=1)


def dumped(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    """See Pass; a dump a part, since a dump mixes parts. The cache holds a program's initial numbers."""
    manifest = bundle.manifest
    side, chunk = manifest.pictures.tile_size, min(manifest.prefill_chunk, manifest.cache.max_context - 1)
    pixels, rows = np.zeros((1, 3, side, side), np.float32), np.ones((chunk, manifest.model.hidden_size), np.float32)

    def part(name: str, count: int, step: Callable[[PteEngine], object]) -> None:
        engine, seconds = TracedPteEngine(bundle, threads), []
        for _ in range(1 + count):
            start = time.perf_counter()
            step(engine)
            seconds.append(time.perf_counter() - start)
        traced.append(Traced(name, count, sum(seconds[1:]) / count))
        groups.extend(grouped(engine.end_traces(folder), name, count))

    traced: list[Traced] = []
    groups: list[Group] = []
    part(TILE, FEW, lambda engine: engine.encode_images(pixels))
    part(chunk_named(chunk), FEW, lambda engine: engine.forward(rows, 0, np.array([chunk - 1])))
    for depth in behind(depths, chunk):
        part(token_named(depth), MANY, partial(_token, rows[:1], depth))
    return traced, groups


def _token(row: np.ndarray[tuple[int, ...], np.dtype[np.float32]], depth: int, engine: PteEngine) -> object:
    return engine.forward(row, depth, np.array([0]))


def grouped(found: Dump, part: str, steps: int) -> list[Group]:
    """Returns a part's times per step, grouped by kernels' names."""
    return [
        Group(
            next((group for start, group in STARTS.items() if one.operator.startswith(start)), OTHER),
            one.operator,
            one.milliseconds / 1e3 / steps,
            max(one.calls // steps, 1),
            part,
        )
        for one in found.operators
    ]

"""Ask ONNX Runtime's profiler."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.ort_trace import Ran, places_of, read_trace, toll
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.tracing import TILE, Found, Group, Traced, behind, chunk_named, token_named

FEW, MANY = 3, 31
"""Steps of a tile or a chunk, and of a token, after a first one that does not count."""


@dataclass(frozen=True)
class Steps:
    """Steps of one part, in a trace after ``skipped`` others, and the wall time of each."""

    part: str
    skipped: int
    seconds: tuple[float, ...]

    @property
    def end(self) -> int:
        """Where the next part begins."""
        return self.skipped + len(self.seconds)

    def told(self, runs: Sequence[Ran]) -> tuple[Traced, list[Group]]:
        """Medians over the steps, each without its own toll. Raises EdgeError where the trace lacks one."""
        own = runs[self.skipped : self.end]
        if len(own) < len(self.seconds) or not all(run.kernels for run in own):
            raise EdgeError(f"ONNX Runtime's profiler told nothing of {self.part}", "leave it out: --no-operators")
        tolls = [toll(run.kernels) for run in own]
        outside = [seconds - run.seconds for seconds, run in zip(self.seconds, own, strict=True)]
        seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
        calls: dict[tuple[str, str], int] = {}
        for run, off in zip(own, tolls, strict=True):
            took: dict[tuple[str, str], list[float]] = defaultdict(list)
            for place, kernel in zip(places_of(run.kernels), run.kernels, strict=True):
                took[place, kernel.operator].append(kernel.seconds - off)
            for key, one in took.items():
                seconds[key].append(sum(one))
                calls[key] = len(one)
        groups = [Group(*key, max(median(found), 0.0), calls[key], self.part) for key, found in seconds.items()]
        whole = Traced(self.part, len(own), median(self.seconds), median(tolls), max(median(outside), 0.0))
        return whole, sorted(groups, key=lambda one: (-one.seconds, one.group, one.operator))


def traced_bundle(bundle: Bundle, threads: int, depths: Sequence[int], folder: Path) -> Found:
    """See Pass."""
    return traced(OrtEngine(bundle, threads, folder), depths)


def traced(engine: OrtEngine, depths: Sequence[int]) -> Found:
    """See Pass. What lies in the cache does not matter to time; that it is memory of its own does."""
    manifest = engine.manifest
    for rows in engine.cache.values():
        rows.fill(0)  # pages that were never written are all the same one, which is always near
    side, chunk = manifest.pictures.tile_size, min(manifest.prefill_chunk, manifest.cache.max_context - 1)
    pixels = np.zeros((1, 3, side, side), np.float32)
    embeds = engine.embed(np.full(chunk, manifest.prompt.first_token, np.int64))
    vision = _steps(TILE, FEW, 0, lambda: engine.encode_images(pixels))
    decoder = [_steps(chunk_named(chunk), FEW, 0, lambda: engine.forward(embeds, 0, np.array([chunk - 1])))]
    for depth in behind(depths, chunk):
        step = partial(engine.forward, embeds[:1], depth, np.array([0]))
        decoder.append(_steps(token_named(depth), MANY, decoder[-1].end, step))
    of_vision, of_decoder = map(read_trace, engine.end_traces())
    told = [vision.told(of_vision), *(steps.told(of_decoder) for steps in decoder)]
    return [whole for whole, _ in told], [group for _, groups in told for group in groups]


def _steps(part: str, count: int, skipped: int, step: Callable[[], object]) -> Steps:
    """Run it once and then ``count`` times."""
    seconds = []
    for _ in range(1 + count):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Steps(part, skipped + 1, tuple(seconds[1:]))

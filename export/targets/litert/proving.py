"""Trials of LiteRT graphs: as LiteRT runs them, and by a reader of the files that rounds no activation."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.litert.binding import Bind, Run
from phantom_edge.export.targets.litert.engine import LiteRtEngine
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.export.targets.litert.reader.interpreter import Interpreter
from phantom_edge.export.targets.litert.reader.model import read_model
from phantom_edge.export.targets.trials import Trial, trials
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.reference import Reference


class ExactLiteRtEngine(LiteRtEngine):
    """A LiteRtEngine that does not round activations: any remaining error has another cause."""

    def _bind(self, bundle: Bundle, threads: int) -> Bind:
        if threads:
            torch.set_num_threads(threads)
        return read(bundle.file)


def read(file_of: Callable[[str], Path]) -> Bind:
    """Returns the way to the reader of files. Raises EdgeError for a file that it does not understand."""
    known = cache(read_model)

    def bind(part: Part, inputs: Mapping[str, Array], outputs: Mapping[str, Array], _: Collection[str]) -> Run:
        graphs = known(file_of(part.file))
        if part.function not in graphs:
            raise EdgeError(f"{part.file} has no signature {part.function}", AGAIN)
        interpreter = Interpreter(graphs[part.function])

        def run() -> None:
            for name, found in interpreter.run(inputs).items():
                np.copyto(outputs[name], found)

        return run

    return bind


def exact(bundle: Bundle, reference: Reference, *, strict: bool) -> list[Trial]:
    """See Exact. The proof's prompt to the cache's last slot runs the graphs of every reach."""
    return trials(bundle, reference, LiteRtEngine, ExactLiteRtEngine)

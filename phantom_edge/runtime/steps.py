"""The loop around functions of fixed shapes: chunks that are filled up, masks, rotations, and the cache.

It is the one that an app runs, whatever runs the functions. A chunk is filled up with its last row: a row of zeros has
no norm on a device that takes an epsilon of 1e-6 for 0 in float16, and what becomes NaN there, no mask hides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phantom_edge.export.bundle.manifest import Fixed, Port
from phantom_edge.runtime.engine import Floats, Ints

Arrays = dict[str, NDArray[Any]]


class Function(Protocol):
    """A loaded function of a package."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Outputs by name; states are its own and those of the other functions of its package."""


class Steps:
    """A decoder in the functions ``prefill`` (``chunk`` tokens), ``decoder`` (one) and ``head``.

    ``ports`` are the inputs of ``decoder``, ``rotary`` cosines and sines (2, positions, head_dim / 2).
    """

    def __init__(
        self, functions: Mapping[str, Function], ports: Sequence[Port], fixed: Fixed, chunk: int, rotary: Floats
    ) -> None:
        self.functions, self.fixed, self.chunk, self.rotary = functions, fixed, chunk, rotary
        self.context = rotary.shape[1]
        self.is_gpu = fixed.compute == "gpu"
        self.cache: Arrays = {
            port.name: np.zeros([int(side) for side in port.shape], np.float32)
            for port in ports
            if port.name.startswith("past_")
        }

    def forward(self, embeds: Floats, start: int, keep: Ints, vocabulary: int) -> Floats:
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
                    row = slice(place - done, place - done + 1)
                    chosen = hidden[:, row] if self.is_gpu else hidden[..., row]
                    logits[place] = words(self.functions["head"].run({"hidden": chosen}), vocabulary)
            else:
                rows = rows[:1]
                logits[done] = words(self._step("decoder", rows, here, 1), vocabulary)
            done += len(rows)
        return np.array([logits[place] for place in keep.tolist()], np.float32).reshape(len(keep), vocabulary)

    def _step(self, part: str, rows: Floats, start: int, tokens: int) -> Arrays:
        """Outputs of a function that reads ``tokens``, of which ``rows`` are real; they enter the cache."""
        real = len(rows)
        fed = rows[np.minimum(np.arange(tokens), real - 1)]
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
        found = self.functions[part].run(inputs)
        for name, new in found.items():
            if name.startswith("new_key"):
                self.cache[f"past{name[3:]}"][:, start : start + real] = new[:, :real]
            elif name.startswith("new_value"):
                self.cache[f"past{name[3:]}"][..., start : start + real] = new[..., :real]
        return found

    def _mask(self, start: int, tokens: int) -> Floats:
        """(tokens, keys): keys are the cache's places, and where it is not state behind them the tokens themselves."""
        own, cached = np.arange(start, start + tokens), np.arange(self.context)
        keys = cached if self.is_gpu else np.concatenate([cached, own])
        looks = keys[None] <= own[:, None]
        if not self.is_gpu:
            looks[:, : self.context] &= cached[None] < start
        if self.fixed.window is not None:
            looks &= keys[None] > own[:, None] - self.fixed.window
        return np.where(looks, np.float32(0), np.float32(self.fixed.masked))


def words(found: Arrays, vocabulary: int) -> Floats:
    """Logits (vocab,), pieced together."""
    pieces = sorted((name for name in found if name.startswith("logits")), key=lambda name: (len(name), name))
    return np.concatenate([found[name].ravel() for name in pieces])[:vocabulary]

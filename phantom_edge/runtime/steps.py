"""The loop around functions of fixed shapes: chunks that are filled up, masks, rotations, and the cache.

It is the one that an app runs, whatever runs the functions. A chunk is filled up with its last row: a row of zeros has
no norm on a device that takes an epsilon of 1e-6 for 0 in float16, and what becomes NaN there, no mask hides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.manifest import Fixed, Port
from phantom_edge.runtime.engine import Floats, Ints

Arrays = dict[str, NDArray[Any]]
HELD: dict[str, type[np.generic]] = {"int16": np.int16}
"""Formats of a cache that a host keeps as they are; floats it keeps in 32 bits."""


class Function(Protocol):
    """A loaded function of a package."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Outputs by name; states are its own and those of the other functions of its package."""


class Layout(Protocol):
    """How a bundle's functions take what the loop has: rows, tables of rotations, a mask, and the cache."""

    is_state: bool

    def fed(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """Inputs, of rows (N, hidden), tables (N, d / 2) and a mask (N, keys)."""

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """One of the hidden states that came out, as the head takes it."""

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """Bring the first ``real`` new rows into the cache at ``start``, if it is not the functions' own."""


class StateLayout:
    """A row a token; the cache is state (gpu)."""

    is_state = True

    def fed(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """See Layout."""
        tables = {"cosines": cosines[None, None], "sines": sines[None, None]}
        return {"inputs_embeds": rows[None], **tables, "mask": mask[None, None]}

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """See Layout."""
        return hidden[:, place : place + 1]

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """See Layout."""


class ChannelLayout:
    """A channel a feature; keys lie as rows, values as columns (ane)."""

    is_state = False

    def fed(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """See Layout."""
        found = {"inputs_embeds": rows, "cosines": cosines, "sines": sines, "mask": mask}
        return {name: array.T[None, :, None] for name, array in found.items()}

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """See Layout."""
        return hidden[..., place : place + 1]

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """See Layout."""
        for name, new in found.items():
            if name.startswith("new_key"):
                cache[f"past{name[3:]}"][:, start : start + real] = new[:, :real]
            elif name.startswith("new_value"):
                cache[f"past{name[3:]}"][..., start : start + real] = new[..., :real]


class HeadLayout:
    """A row a token, a matrix a head; keys lie as columns, though they come out as rows (npu).

    A kv head's queries lie together, so that the mask is said once for each. Sines of the first half are negative.
    """

    is_state = False

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def fed(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """See Layout."""
        return {
            "inputs_embeds": rows,
            "cosines": np.concatenate([cosines, cosines], axis=-1)[None],
            "sines": np.concatenate([-sines, sines], axis=-1)[None],
            "mask": np.tile(mask, (self.groups, 1))[None],
        }

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """See Layout."""
        return hidden[place : place + 1]

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """See Layout."""
        for name, new in found.items():
            if name.startswith("new_key"):
                cache[f"past{name[3:]}"][..., start : start + real] = new[:, :real].swapaxes(1, 2)
            elif name.startswith("new_value"):
                cache[f"past{name[3:]}"][:, start : start + real] = new[:, :real]


def layout_of(fixed: Fixed, groups: int) -> Layout:
    """That of a bundle whose kv heads serve so many query heads each."""
    if fixed.compute == "npu":
        return HeadLayout(groups)
    return StateLayout() if fixed.compute == "gpu" else ChannelLayout()


class Steps:
    """A decoder in the functions ``prefill`` (``chunk`` tokens), ``decoder`` (one) and ``head``.

    ``ports`` are the inputs of ``decoder``, ``rotary`` cosines and sines (2, positions, head_dim / 2).
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        ports: Sequence[Port],
        fixed: Fixed,
        chunk: int,
        rotary: Floats,
        groups: int = 1,
    ) -> None:
        self.functions, self.fixed, self.chunk, self.rotary = functions, fixed, chunk, rotary
        self.context = rotary.shape[1]
        self.layout = layout_of(fixed, groups)
        self.cache: Arrays = {
            port.name: np.zeros([int(side) for side in port.shape], HELD.get(port.dtype, np.float32))
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
                hidden = self.step("prefill", rows, here, self.chunk)["hidden"]
                for place in sorted(wanted & set(range(done, done + len(rows)))):
                    row = self.layout.row(hidden, place - done)
                    logits[place] = words(self.functions["head"].run({"hidden": row}), vocabulary)
            else:
                rows = rows[:1]
                logits[done] = words(self.step("decoder", rows, here, 1), vocabulary)
            done += len(rows)
        return np.array([logits[place] for place in keep.tolist()], np.float32).reshape(len(keep), vocabulary)

    def step(self, part: str, rows: Floats, start: int, tokens: int) -> Arrays:
        """Outputs of a function that reads ``tokens``, of which ``rows`` are real; they enter the cache."""
        real = len(rows)
        fed = rows[np.minimum(np.arange(tokens), real - 1)]
        places = np.minimum(np.arange(start, start + tokens), self.context - 1)
        cosines, sines = (np.asarray(table[places]) for table in self.rotary)
        mask = self._mask(start, tokens)
        inputs = self.layout.fed(fed, cosines, sines, mask)
        inputs |= {"start": np.array([start], np.int32)} if self.layout.is_state else self.cache
        found = self.functions[part].run(inputs)
        self.layout.write(self.cache, found, start, real)
        return found

    def _mask(self, start: int, tokens: int) -> Floats:
        """(tokens, keys): keys are the cache's places, and where it is not state behind them the tokens themselves."""
        own, cached = np.arange(start, start + tokens), np.arange(self.context)
        keys = cached if self.layout.is_state else np.concatenate([cached, own])
        looks = keys[None] <= own[:, None]
        if not self.layout.is_state:
            looks[:, : self.context] &= cached[None] < start
        if self.fixed.window is not None:
            looks &= keys[None] > own[:, None] - self.fixed.window
        return np.where(looks, np.float32(0), np.float32(self.fixed.masked))


def words(found: Arrays, vocabulary: int) -> Floats:
    """Logits (vocab,), pieced together."""
    pieces = sorted((name for name in found if name.startswith("logits")), key=lambda name: (len(name), name))
    return np.concatenate([found[name].ravel() for name in pieces])[:vocabulary]

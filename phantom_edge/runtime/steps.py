"""The loop around functions of fixed shapes: padded chunks, masks, rotations, and the cache.

Apps run the same loop, whatever runs the functions. A chunk is padded with its last row: a row of zeros has no norm on
a device whose float16 rounds an epsilon of 1e-6 to 0, and no mask hides the resulting NaN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.fixed_shapes import FixedShapes
from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.part import Port
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Floats, Ints
from phantom_edge.runtime.rows import Rows

Arrays = dict[str, NDArray[Any]]
HELD: dict[str, type[np.generic]] = {"int16": np.int16}
"""Formats that a cache keeps on the host; floats are kept in 32 bits."""


class Function(Protocol):
    """A loaded function of a package."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Outputs by name; states are its own and those of the other functions of its package."""


class Layout(Protocol):
    """Arrays of a bundle's functions for the loop's rows, tables of rotations, mask, and cache."""

    is_state: bool

    def inputs(self, rows: Floats, cosines: Floats, sines: Floats, mask: Floats) -> Arrays:
        """Inputs from rows (N, hidden), tables (N, d / 2) and a mask (N, keys)."""

    def image_tokens(self, found: NDArray[Any]) -> NDArray[Any]:
        """The output of ``vision`` for one tile as rows (tokens_per_tile, hidden)."""

    def row(self, hidden: NDArray[Any], place: int) -> NDArray[Any]:
        """One of the hidden states, as input of the head."""

    def write(self, cache: Arrays, found: Arrays, start: int, real: int) -> None:
        """Write the first ``real`` new rows to the cache at ``start``, unless it is the functions' state."""


class Steps:
    """A decoder in the functions ``prefill`` (``chunk`` tokens), ``decoder`` (one) and ``head``.

    ``ports`` are the inputs of ``decoder``, ``rotary`` cosines and sines (2, positions, head_dim / 2).
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        ports: Sequence[Port],
        layout: Layout,
        fixed: FixedShapes,
        chunk: int,
        rotary: Floats,
    ) -> None:
        self.functions, self.layout, self.fixed, self.chunk = functions, layout, fixed, chunk
        self.rotary, self.context = rotary, rotary.shape[1]
        self.cache: Arrays = {
            port.name: np.zeros([int(side) for side in port.shape], HELD.get(port.dtype, np.float32))
            for port in ports
            if port.name.startswith("past_")
        }

    def forward(self, embeds: Floats, start: int, keep: Ints, vocabulary: int) -> Floats:
        """See Engine; in chunks where one fits into the rest of the cache, else token by token."""
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
                    logits[place] = join_logits(self.functions["head"].run({"hidden": row}), vocabulary)
            else:
                rows = rows[:1]
                logits[done] = join_logits(self.step("decoder", rows, here, 1), vocabulary)
            done += len(rows)
        return np.array([logits[place] for place in keep.tolist()], np.float32).reshape(len(keep), vocabulary)

    def step(self, part: str, rows: Floats, start: int, tokens: int) -> Arrays:
        """Outputs of a function for ``tokens`` tokens, of which ``rows`` are real; these enter the cache."""
        real = len(rows)
        padded = rows[np.minimum(np.arange(tokens), real - 1)]
        places = np.minimum(np.arange(start, start + tokens), self.context - 1)
        cosines, sines = (np.asarray(table[places]) for table in self.rotary)
        mask = self._mask(start, tokens)
        inputs = self.layout.inputs(padded, cosines, sines, mask)
        inputs |= {"start": np.array([start], np.int32)} if self.layout.is_state else self.cache
        found = self.functions[part].run(inputs)
        self.layout.write(self.cache, found, start, real)
        return found

    def _mask(self, start: int, tokens: int) -> Floats:
        """(tokens, keys): keys are the cache's places and, unless it is state, the tokens themselves behind them."""
        own, cached = np.arange(start, start + tokens), np.arange(self.context)
        keys = cached if self.layout.is_state else np.concatenate([cached, own])
        looks = keys[None] <= own[:, None]
        if not self.layout.is_state:
            looks[:, : self.context] &= cached[None] < start
        if self.fixed.window is not None:
            looks &= keys[None] > own[:, None] - self.fixed.window
        return np.where(looks, np.float32(0), np.float32(self.fixed.masked))


def join_logits(found: Arrays, vocabulary: int) -> Floats:
    """Logits (vocab,), joined from their pieces."""
    pieces = sorted((name for name in found if name.startswith("logits")), key=lambda name: (len(name), name))
    return np.concatenate([found[name].ravel() for name in pieces])[:vocabulary]


class StepsEngine:
    """Engine on the ``functions`` of a bundle, whose decoder has the inputs ``ports``."""

    def __init__(
        self,
        bundle: Bundle,
        functions: Mapping[str, Function],
        ports: Sequence[Port],
        layout: Layout,
        fixed: FixedShapes,
    ) -> None:
        manifest = bundle.manifest
        self.manifest, self.vision, self.table = manifest, functions["vision"], Rows(bundle)
        self.steps = Steps(functions, ports, layout, fixed, manifest.prefill_chunk, rotary_of(bundle, fixed))

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine; one tile at a time."""
        found = [self.vision.run({"pixel_values": tile[None]})["image_tokens"] for tile in pixel_values]
        return np.concatenate([self.steps.layout.image_tokens(one) for one in found]).astype(np.float32, copy=False)

    def embed(self, ids: Ints) -> Floats:
        """Rows of the embedding table."""
        return self.table[ids]

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        return self.steps.forward(embeds, start, keep, self.manifest.model.vocab_size)


def rotary_of(bundle: Bundle, fixed: FixedShapes) -> Floats:
    """Cosines and sines (2, positions, head_dim / 2). Raises EdgeError for a file of another size."""
    path, manifest = bundle.file(fixed.rotary), bundle.manifest
    shape = (2, manifest.cache.max_context, manifest.model.head_dim // 2)
    if manifest.files[fixed.rotary].bytes != 4 * math.prod(shape):
        raise EdgeError(f"{path} is not as large as a table of rotations {shape}", AGAIN)
    return np.memmap(path, np.float32, "r", shape=shape)

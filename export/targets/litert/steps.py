"""Steps of a decoder: chunks of a prompt and single tokens, over one set of caches."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.litert.binding import Bind, Bound
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.export.targets.litert.names import (
    AUXILIARY,
    CACHE,
    CHUNK,
    EMBEDS,
    FIRST,
    LOGITS,
    MASK,
    MASKING,
    POSITIONS,
    TIME,
    TURNING,
    UPDATING,
)
from phantom_edge.runtime.engine import Floats, Ints


class InPlace:
    """A graph that writes the caches itself."""

    def __init__(self, part: Part, caches: Mapping[str, Array], bind: Bind, masked: float) -> None:
        self.graph = Bound(part, caches, bind)
        self.masked = np.float32(masked)

    def run(self, rows: Floats, places: Ints) -> None:
        """Reads tokens at ``places``."""
        inputs = self.graph.inputs
        inputs[EMBEDS][0], inputs[POSITIONS][...] = rows, places
        looks = np.arange(inputs[MASK].shape[-1])[None] <= places[:, None]
        inputs[MASK][0, 0] = np.where(looks, np.float32(0), self.masked)
        self.graph.run()


class ReadOnly:
    """A graph that returns new rows, with auxiliary ones that compute its mask and rotations, and write the rows."""

    def __init__(self, part: Part, around: Mapping[str, Part], caches: Mapping[str, Array], bind: Bind) -> None:
        passed = {
            port.name: np.zeros([int(side) for side in port.shape], np.float32)
            for ports in (part.outputs, around[MASKING].outputs, around[TURNING].outputs)
            for port in ports
            if port.name != LOGITS
        }
        shared = {**caches, **passed}
        self.graph = Bound(part, shared, bind)
        self.around = {name: Bound(one, shared, bind) for name, one in around.items()}

    def run(self, rows: Floats, places: Ints) -> None:
        """Reads tokens at ``places``."""
        self.around[MASKING].inputs[TIME][...] = places[0]
        for name in (TURNING, UPDATING):
            self.around[name].inputs[POSITIONS][...] = places
        self.graph.inputs[EMBEDS][0] = rows
        for one in (self.around[MASKING], self.around[TURNING], self.graph, self.around[UPDATING]):
            one.run()


class Pair(NamedTuple):
    """Graphs of one token and of a chunk, which attend to the first ``rows`` of the caches."""

    rows: int
    one: InPlace | ReadOnly
    many: InPlace | ReadOnly


class Steps:
    """A decoder in its graphs of one token and of a chunk, over one set of caches.

    Logits come from the graph of one token: a prompt is read in chunks, and each token whose logits are asked for once
    more. Of the graphs that attend to the first rows of the caches alone, ``firsts`` of them, the smallest is taken
    that reaches far enough.
    """

    def __init__(self, parts: Mapping[str, Part], bind: Bind, masked: float, firsts: Sequence[int] = ()) -> None:
        one, many = parts["decoder"], parts[CHUNK]
        self.chunk = next(int(port.shape[1]) for port in many.inputs if port.name == EMBEDS)
        self.vocabulary = next(int(port.shape[-1]) for port in one.outputs if port.name == LOGITS)
        self.caches = {
            port.name: np.zeros([int(side) for side in port.shape], np.float32)
            for port in one.inputs
            if port.name.startswith(CACHE)
        }
        self.rows = min(array.shape[2] for array in self.caches.values())
        self.pairs: list[Pair] = []
        for rows in firsts:
            near = (parts[f"{name}_{FIRST}{rows}"] for name in ("decoder", CHUNK))
            self.pairs.append(Pair(rows, *(InPlace(part, self.caches, bind, masked) for part in near)))
        whole = (
            InPlace(part, self.caches, bind, masked)
            if MASKING not in parts
            else ReadOnly(part, {name: parts[f"{start}{name}"] for name in AUXILIARY}, self.caches, bind)
            for part, start in ((one, ""), (many, f"{CHUNK}_"))
        )
        self.pairs.append(Pair(self.rows, *whole))

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        count, wanted = len(embeds), np.asarray(keep)
        assert start + count + self.chunk <= self.rows
        kept = sorted(set(wanted.tolist()))
        to_read = count - (bool(kept) and kept[-1] == count - 1)
        for begin in range(0, to_read, self.chunk):
            end = min(begin + self.chunk, to_read)
            rows = embeds[np.minimum(np.arange(begin, begin + self.chunk), end - 1)]
            self._reaching(start + end).many.run(rows, np.arange(start + begin, start + begin + self.chunk))
        found = np.zeros((len(wanted), self.vocabulary), np.float32)
        for place in kept:
            one = self._reaching(start + place + 1).one
            one.run(embeds[place : place + 1], np.array([start + place]))
            found[wanted == place] = one.graph.outputs[LOGITS][0, 0]
        return found

    def _reaching(self, end: int) -> Pair:
        return next(pair for pair in self.pairs if end <= pair.rows)

"""The decoder for NPUs and the auxiliary graphs beside it, with the signatures of LiteRT-LM's engine for NPUs.

The decoder reads the caches and returns the new rows. Nothing in it depends on whole numbers: masks and rotations come
from auxiliary graphs, and another one writes the rows; the CPU runs them. Caches and new rows are attended to apart, so
that no cache is copied.
"""

import numpy as np

from phantom_edge.export.targets.litert.decoder import Decoder, DecoderGraph
from phantom_edge.export.targets.litert.graph import Value
from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import (
    AROUND,
    AUXILIARY,
    CACHE,
    COSINES,
    MASKING,
    POSITIONS,
    SINES,
    SLICE,
    TIME,
    TOKENS,
    TURNING,
    UPDATING,
    auxiliary_name,
    cache_names,
)
from phantom_edge.export.targets.litert.operators import Operators
from phantom_edge.export.targets.litert.rotation import turns


class ReadOnlyGraph(DecoderGraph):
    """Draws one graph of a decoder whose caches are inputs alone."""

    def _places(self) -> None:
        tokens, rows = self.tokens, self.own.rows
        self.cosines, self.sines = (self.input(name, (1, 1, tokens, self.dim)) for name in (COSINES, SINES))
        self.mask = self.input(AROUND, (1, 1, tokens, rows + tokens))

    def _prepare(self) -> None:
        self._spread(self.mask)

    def _keep(self, number: int, rows: tuple[Value, Value]) -> None:
        self.new |= zip(cache_names(number, SLICE), rows, strict=True)

    def _mixed(self, query: Value, rows: tuple[Value, Value], number: int) -> Value:
        """Values of caches and of new rows, which one softmax weighs."""
        keys, values = ((self.caches[port], one) for port, one in zip(cache_names(number), rows, strict=True))
        scores = self.concat([self.product(query, one, turned=True) for one in keys], -1)
        weights = self.softmax(self.add(scores, self.mask_of_groups))
        sizes = [self.own.rows, self.tokens]
        old, new = (self.product(*pair) for pair in zip(self.split(weights, sizes), values, strict=True))
        return self.add(old, new)


def draw_auxiliary(own: Decoder, file: ModelFile, tokens: int) -> dict[str, Operators]:
    """Draws the graphs beside the decoder's of ``tokens`` tokens, by the names of their parts."""
    draw = {MASKING: _mask, TURNING: _turns, UPDATING: _update}
    found = {}
    for part, end in AUXILIARY.items():
        graph = Operators(file, auxiliary_name(end, tokens))
        draw[part](graph, own, tokens)
        graph.close()
        found[part] = graph
    return found


def _mask(graph: Operators, own: Decoder, tokens: int) -> None:
    """Mask (1, 1, N, rows + N) of tokens that begin at ``time_step``: over the caches, and over themselves.

    The engine hands over the ids of tokens, too: here every token is one.
    """
    window, rows = own.config.sliding_window, own.rows
    start = graph.reshape(graph.cast(graph.input(TIME, (1,), "int32"), "float32"), 1, 1, 1, 1)
    graph.input(TOKENS, (1, tokens), "int32")
    zero, one = (graph.held(name, np.full((1, 1, 1, 1), value)) for name, value in (("zero", 0), ("one", 1)))

    def beyond(found: Value) -> Value:
        """1 where a whole number is above 0, else 0."""
        return graph.least(graph.most(found, zero), one)

    places = np.arange(rows, dtype=np.float32)
    offsets = np.arange(tokens, dtype=np.float32)
    starts = graph.add(start, graph.held(f"starts_{tokens}", np.zeros((1, 1, tokens, 1))))
    hidden = beyond(graph.sub(graph.held("later", (places + 1)[None, None, None]), starts))
    apart = offsets[:, None] - offsets
    beside = apart < 0
    if window is not None and window < rows:
        newest = graph.held(f"newest_{tokens}", (places + window - 1 - offsets[:, None])[None, None])
        hidden = graph.most(hidden, beyond(graph.sub(starts, newest)))
        beside |= apart >= window
    among = graph.held(f"among_{tokens}", np.where(beside, own.masked, 0)[None, None])
    masked = graph.mul(hidden, graph.held("masked", np.full((1, 1, 1, 1), own.masked)))
    graph.output(AROUND, graph.concat([masked, among], -1))


def _turns(graph: Operators, own: Decoder, tokens: int) -> None:
    """Rotations of positions."""
    places = graph.reshape(graph.cast(graph.input(POSITIONS, (tokens,), "int32"), "float32"), 1, 1, tokens, 1)
    for name, value in zip((COSINES, SINES), turns(graph, places, own.config, own.context), strict=True):
        graph.output(name, value)


def _update(graph: Operators, own: Decoder, tokens: int) -> None:
    """The caches with new rows at the positions of their tokens."""
    first = graph.cut(graph.input(POSITIONS, (tokens,), "int32"), [0], [1])
    start = graph.concat([graph.ints(0, 0), first, graph.ints(0)], 0)
    for port, width in own.ports():
        cache = graph.input(port, (1, own.config.num_key_value_heads, own.rows, width))
        rows = graph.input(port.replace(CACHE, SLICE), (1, own.config.num_key_value_heads, tokens, width))
        graph.output(port, graph.updated(cache, rows, start))

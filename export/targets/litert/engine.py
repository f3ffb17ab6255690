"""Engine of LiteRT graphs: LiteRT runs them, or the reader of proofs, in the same loop.

The caches are inputs and outputs of both decoder graphs at once: rows are written in place, and nothing is copied. A
chunk is padded with its last row; rows that padding writes lie behind the prompt, and the next call writes them anew.
"""

import numpy as np

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.part import Part
from phantom_edge.export.targets.litert.binding import NUMBERS, Bind, Bound, litert
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.export.targets.litert.names import (
    CACHE,
    CHUNK,
    EMBEDS,
    IDS,
    IMAGE_TOKENS,
    IMAGES,
    LOGITS,
    MASK,
    POSITIONS,
)
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Floats, Ints

PORTS: dict[str, tuple[set[str], set[str]]] = {
    "vision": ({IMAGES}, {IMAGE_TOKENS}),
    "embedding": ({IDS}, {EMBEDS}),
    "decoder": ({EMBEDS, POSITIONS, MASK}, {LOGITS}),
    CHUNK: ({EMBEDS, POSITIONS, MASK}, set()),
}
"""Inputs and outputs of parts, beside the caches."""


class Steps:
    """A decoder in its graphs of one token and of a chunk, over one set of caches.

    Logits come from the graph of one token: a prompt is read in chunks, and each token whose logits are asked for once
    more.
    """

    def __init__(self, one: Part, many: Part, bind: Bind, masked: float) -> None:
        ports = {port.name: port for port in many.inputs}
        self.rows, self.chunk = (int(side) for side in (ports[MASK].shape[-1], ports[EMBEDS].shape[1]))
        self.masked = np.float32(masked)
        self.caches = {
            port.name: np.zeros([int(side) for side in port.shape], np.float32)
            for port in one.inputs
            if port.name.startswith(CACHE)
        }
        self.one, self.many = (Bound(part, self.caches, bind) for part in (one, many))

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        count, wanted = len(embeds), np.asarray(keep)
        assert start + count + self.chunk <= self.rows
        kept = sorted(set(wanted.tolist()))
        to_read = count - (bool(kept) and kept[-1] == count - 1)
        for begin in range(0, to_read, self.chunk):
            self._step(self.many, embeds[begin : min(begin + self.chunk, to_read)], start + begin, self.chunk)
        logits = self.one.outputs[LOGITS]
        found = np.zeros((len(wanted), logits.shape[-1]), np.float32)
        for place in kept:
            self._step(self.one, embeds[place : place + 1], start + place, 1)
            found[wanted == place] = logits[0, 0]
        return found

    def _step(self, graph: Bound, rows: Floats, start: int, tokens: int) -> None:
        places = np.arange(start, start + tokens)
        graph.inputs[EMBEDS][0] = rows[np.minimum(np.arange(tokens), len(rows) - 1)]
        graph.inputs[POSITIONS][...] = places
        looks = np.arange(self.rows)[None] <= places[:, None]
        graph.inputs[MASK][0, 0] = np.where(looks, np.float32(0), self.masked)
        graph.run()


class LiteRtEngine:
    """Runs a bundle of target litert on the CPU. ``threads`` 0 lets LiteRT choose."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.manifest = bundle.manifest
        parts, facts = self.manifest.parts, bundle.facts(LiteRtFacts)
        for name in PORTS:
            _check_part(bundle, name)
        bind = self._bind(bundle, threads)
        self.vision, self.table = (Bound(parts[name], {}, bind) for name in ("vision", "embedding"))
        self.steps = Steps(parts["decoder"], parts[CHUNK], bind, facts.masked)
        if self.steps.rows < self.manifest.cache.max_context + self.steps.chunk:
            raise EdgeError(f"the caches of {bundle.path} have no rows for the padding of a last chunk", AGAIN)
        pictures = self.manifest.pictures
        self.mean, self.std = (np.array(one).reshape(3, 1, 1) for one in (pictures.mean, pictures.std))

    def _bind(self, bundle: Bundle, threads: int) -> Bind:
        return litert(bundle.file, threads)

    def encode_images(self, pixel_values: Floats) -> Floats:
        """See Engine; one tile at a time, as numbers of 8 bits over 255."""
        tiles = np.rint((pixel_values * self.std + self.mean) * 255).clip(0, 255).astype(np.float32) / np.float32(255)
        return np.concatenate([self._encoded(tile) for tile in tiles.transpose(0, 2, 3, 1)])

    def _encoded(self, tile: Array) -> Floats:
        self.vision.inputs[IMAGES][0] = tile
        self.vision.run()
        return np.array(self.vision.outputs[IMAGE_TOKENS][0])

    def embed(self, ids: Ints) -> Floats:
        """Reads rows of the embedding table."""
        found = np.zeros((len(ids), self.manifest.model.hidden_size), np.float32)
        for place, one in enumerate(ids):
            if not 0 <= one < self.manifest.model.vocab_size:
                raise EdgeError(f"{one} is no token id of this model", "give ids of its own tokenizer")
            self.table.inputs[IDS][...] = one
            self.table.run()
            found[place] = self.table.outputs[EMBEDS][0, 0]
        return found

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """See Engine."""
        assert start + len(embeds) <= self.manifest.cache.max_context
        return self.steps.forward(embeds, start, keep)


def _check_part(bundle: Bundle, name: str) -> None:
    """Raises EdgeError where the manifest lacks a part or one of its ports, or a port has no fixed shape."""
    place, part = bundle.path / MANIFEST, bundle.manifest.parts.get(name)
    if part is None:
        raise EdgeError(f"{place} lists no part {name}", AGAIN)
    for ports, wanted in zip((part.inputs, part.outputs), PORTS[name], strict=True):
        missing = sorted(wanted - {port.name for port in ports})
        if missing:
            raise EdgeError(f"{place} lists no {missing[0]} of {name}", AGAIN)
        for port in ports:
            if port.dtype not in NUMBERS or not all(isinstance(side, int) and side > 0 for side in port.shape):
                raise EdgeError(f"{place}: {port.name} of {name} has no shape or format of a LiteRT graph", AGAIN)

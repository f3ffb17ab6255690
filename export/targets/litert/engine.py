"""Engine of LiteRT graphs: LiteRT runs them, or the reader of proofs, in the same loop.

The caches are inputs and outputs of both decoder graphs at once, or of the graphs beside them that write rows: nothing
is copied. A chunk is padded with its last row; rows that padding writes lie behind the prompt, and the next call writes
them anew.
"""

import numpy as np

from phantom_edge.bundle.folder import AGAIN, Bundle
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.export.targets.litert.binding import NUMBERS, Bind, Bound, litert
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.litert.model_file import Array
from phantom_edge.export.targets.litert.names import (
    AROUND,
    CHUNK,
    COSINES,
    EMBEDS,
    FIRST,
    IDS,
    IMAGE_TOKENS,
    IMAGES,
    LOGITS,
    MASK,
    MASKING,
    POSITIONS,
    SINES,
    TIME,
    TURNING,
    UPDATING,
)
from phantom_edge.export.targets.litert.steps import Steps
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Floats, Ints

TO_LOGITS: tuple[set[str], set[str]] = ({EMBEDS, POSITIONS, MASK}, {LOGITS})
FROM_CACHES: tuple[set[str], set[str]] = ({EMBEDS, COSINES, SINES, AROUND}, {LOGITS})
EITHER: dict[str, tuple[set[str], set[str]]] = {"vision": ({IMAGES}, {IMAGE_TOKENS}), "embedding": ({IDS}, {EMBEDS})}
BESIDE: dict[str, tuple[set[str], set[str]]] = {
    MASKING: ({TIME}, {AROUND}),
    TURNING: ({POSITIONS}, {COSINES, SINES}),
    UPDATING: ({POSITIONS}, set()),
}


def ports_of(facts: LiteRtFacts) -> dict[str, tuple[set[str], set[str]]]:
    """Returns inputs and outputs of parts, beside the caches and their rows."""
    inputs, outputs = FROM_CACHES if facts.compute == "npu" else TO_LOGITS
    found = {**EITHER, "decoder": (inputs, outputs), CHUNK: (inputs, set())}
    for rows in facts.firsts:
        found |= {f"{name}_{FIRST}{rows}": found[name] for name in ("decoder", CHUNK)}
    if facts.compute == "npu":
        found |= {f"{start}{name}": ports for start in ("", f"{CHUNK}_") for name, ports in BESIDE.items()}
    return found


class LiteRtEngine:
    """Runs a bundle of target litert on the CPU. ``threads`` 0 lets LiteRT choose."""

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self.manifest = bundle.manifest
        parts, facts = self.manifest.parts, bundle.facts(LiteRtFacts)
        for name, ports in ports_of(facts).items():
            _check_part(bundle, name, ports)
        bind = self._bind(bundle, threads)
        self.vision, self.table = (Bound(parts[name], {}, bind) for name in ("vision", "embedding"))
        self.steps = Steps(parts, bind, facts.masked, facts.firsts)
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


def _check_part(bundle: Bundle, name: str, wanted: tuple[set[str], set[str]]) -> None:
    """Raises EdgeError where the manifest lacks a part or one of its ports, or a port has no fixed shape."""
    place, part = bundle.path / MANIFEST, bundle.manifest.parts.get(name)
    if part is None:
        raise EdgeError(f"{place} lists no part {name}", AGAIN)
    for ports, needed in zip((part.inputs, part.outputs), wanted, strict=True):
        missing = sorted(needed - {port.name for port in ports})
        if missing:
            raise EdgeError(f"{place} lists no {missing[0]} of {name}", AGAIN)
        for port in ports:
            if port.dtype not in NUMBERS or not all(isinstance(side, int) and side > 0 for side in port.shape):
                raise EdgeError(f"{place}: {port.name} of {name} has no shape or format of a LiteRT graph", AGAIN)

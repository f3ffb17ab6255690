"""The interface of a target for sessions: encode images, embed tokens, and decode with a cache."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


class Engine(Protocol):
    """One loaded bundle with one cache. Arrays are float32 whatever the graphs compute in."""

    def encode_images(self, pixel_values: Floats) -> Floats:
        """Tiles (T, 3, S, S) to image tokens (T * tokens_per_tile, hidden)."""

    def embed(self, ids: Ints) -> Floats:
        """Token ids (N,) to rows (N, hidden)."""

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        """Tokens ``embeds`` (N, hidden) at positions ``start`` on: logits (R, vocab) of positions ``keep``.

        ``keep`` (R,) counts from ``start``. The cache must hold the ``start`` tokens before; later entries are
        overwritten.
        """


@runtime_checkable
class DraftingEngine(Engine, Protocol):
    """An engine whose bundle may have a draft layer."""

    def forward_hidden(self, embeds: Floats, start: int, keep: Ints) -> tuple[Floats, Floats]:
        """As ``forward``, and the last hidden states (R, hidden) of positions ``keep``; for bundles with a draft."""

    def draft(self, hidden: Floats, token: int) -> Ints:
        """Ids (K,) that may follow ``token``, which the hidden state (hidden,) predicted; for bundles with a draft."""

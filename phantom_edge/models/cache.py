"""The KV cache: keys and values of doubled width, and the sentinel's rows beside them.

A layer's phantom branch depends on query, key and value of the first unpadded token. Key and value of that token
are in the cache already, its query is not; so each cache layer carries the three rows. They are part of the cache,
an explicit argument of ``forward``, and never of the modules.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer, StaticLayer

from phantom_edge.models.config import PHANTOM_LAYER


class Sentinel(NamedTuple):
    """Rows of the first unpadded token after RoPE: query (B, H, d), key and value (B, H_kv, d)."""

    query: Tensor
    key: Tensor
    value: Tensor


class SentinelLayer:
    """Operations on the sentinel that both cache layers share."""

    sentinel: Sentinel | None = None

    def reset(self) -> None:
        super().reset()  # type: ignore[misc]
        self.sentinel = None

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)  # type: ignore[misc]
        if self.get_seq_length() == 0:  # type: ignore[attr-defined]
            self.sentinel = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        super().reorder_cache(beam_idx)  # type: ignore[misc]
        self._map_sentinel(lambda rows: rows.index_select(0, beam_idx.to(rows.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)  # type: ignore[misc]
        self._map_sentinel(lambda rows: rows.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)  # type: ignore[misc]
        self._map_sentinel(lambda rows: rows[indices])

    def offload(self) -> None:
        super().offload()  # type: ignore[misc]
        self._map_sentinel(lambda rows: rows.to("cpu", non_blocking=True))

    def prefetch(self) -> None:
        super().prefetch()  # type: ignore[misc]
        device: torch.device | None = getattr(self, "device", None)
        self._map_sentinel(lambda rows: rows.to(device, non_blocking=True))

    def _map_sentinel(self, change: Any) -> None:
        if self.sentinel is not None:
            self.sentinel = Sentinel(*(change(rows) for rows in self.sentinel))


class PhantomLayer(SentinelLayer, DynamicLayer):
    """Growing keys and values (B, H_kv, N, 2d), and the sentinel."""

    _layer_type = PHANTOM_LAYER

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


class PhantomStaticLayer(SentinelLayer, StaticLayer):
    """Keys and values in a buffer of fixed length, and the sentinel."""

    _layer_type = PHANTOM_LAYER

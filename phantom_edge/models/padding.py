"""Positions and sentinels of padded rows, derived from the attention mask.

A mask of two dimensions marks the real tokens. One of four marks the keys that each query sees; the real tokens follow
from it as long as a row is one causal sequence.
"""

import torch
from torch import Tensor

from phantom_edge.foundation.errors import EdgeError

SHUT = -1e3
"""An additive mask of less than this hides its key: exp(-1000) is 0 in every format."""


def is_traced() -> bool:
    """True while a program is traced: then tensor values must not steer Python."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def check_mask(mask: Tensor | None, rows: int, tokens: int, total: int | Tensor, keys: int | Tensor) -> None:
    """Raises EdgeError unless ``mask`` fits ``rows`` of ``tokens`` queries and ``keys`` cached and new keys.

    ``total`` counts the tokens so far; a cache of fixed length has more ``keys`` than that.
    """
    if mask is None:
        return
    if mask.ndim == 2:
        if mask.shape[1] != total:
            raise EdgeError(
                f"attention_mask covers {mask.shape[1]} tokens, cache and input have {int(total)}",
                "pass a mask of all tokens so far, those in the cache included",
            )
        return
    wanted = (rows, 1, tokens, int(keys))
    if mask.ndim != 4 or tuple(mask.shape) not in (wanted, (1, *wanted[1:])):
        raise EdgeError(
            f"attention_mask has the shape {tuple(mask.shape)}, which is neither {(rows, int(total))} nor {wanted}",
            f"pass the {(rows, int(total))} mask of real tokens; the model makes the causal one itself",
        )
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise EdgeError(
            f"attention_mask of four dimensions is {mask.dtype}",
            "pass a boolean one (True: the query sees the key) or one that is added to the scores",
        )


def ready_mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """An additive mask of four dimensions in ``dtype``, without infinities: a row of -inf alone would become NaN."""
    if mask is None or mask.ndim != 4 or not mask.is_floating_point():
        return mask
    return mask.clamp(min=torch.finfo(dtype).min).to(dtype)


class VisibleKeys:
    """Keys that the queries of this call see, from a mask (B or 1, 1, N, S) of four dimensions."""

    def __init__(self, mask: Tensor, past: int | Tensor) -> None:
        sees = (mask if mask.dtype == torch.bool else mask > SHUT)[:, 0]  # (B, N, S)
        tokens, keys = sees.shape[1:]
        self.own = torch.arange(tokens, device=mask.device) + past  # each query's own key
        at = torch.arange(keys, device=mask.device)
        looks_ahead = (sees & (at > self.own[:, None])).any(dim=-1)  # (B, N)
        # Rows of padding that would see nothing are often made to see everything; they carry no information.
        self.sees = sees & ~looks_ahead[..., None]
        self.is_odd = looks_ahead
        self.at = at

    def positions(self) -> Tensor:
        """Position of each query (B, N): how many keys it sees before its own."""
        return (self.sees.sum(dim=-1) - 1).clamp(min=0)

    def sentinel_index(self) -> Tensor:
        """Place of each row's first real token in this call (B,), -1 where there is none."""
        begins = self._begins()
        first = begins.to(torch.int32).argmax(dim=-1)
        return torch.where(begins.any(dim=-1), first, first.new_full((), -1))

    def check(self, past: int | Tensor) -> None:
        """Raises EdgeError unless every row is padding and then one causal sequence, as far as the mask shows."""
        begins = self._begins().sum(dim=-1)
        if bool((begins > 1).any()):
            raise EdgeError(
                "attention_mask makes several sequences of one row, or hides tokens inside it: each would need "
                "its own sentinel",
                "give each sequence its own row, padded on the left, and pass the (batch, tokens) mask of real tokens",
            )
        lost = (begins == 0) & (self.sees.any(dim=(-1, -2)) | self.is_odd.any(dim=-1))
        if not isinstance(past, Tensor) and past == 0 and bool(lost.any()):
            raise EdgeError(
                "attention_mask lets tokens see later ones, so that no token is the row's first",
                "pass the (batch, tokens) mask of real tokens; the model makes the causal one itself",
            )

    def _begins(self) -> Tensor:
        """Queries (B, N) that see themselves and nothing before, and are seen by a later one (or are the last)."""
        itself = self.at == self.own[:, None]  # (N, S)
        begins = (self.sees & itself).any(dim=-1) & ~(self.sees & (self.at < self.own[:, None])).any(dim=-1)
        seen = self.sees.index_select(-1, self.own)  # (B, N, N): queries by the tokens of this call
        later = torch.ones(seen.shape[-2:], dtype=torch.bool, device=seen.device).tril(-1)
        is_last = self.own == self.own[-1]
        return begins & ((seen & later).any(dim=-2) | is_last)


def count_positions(padding: Tensor | None, past: int | Tensor, embeds: Tensor) -> Tensor:
    """Position of each token of this call (B, N): the count of real tokens before it in its row."""
    batch, tokens, _ = embeds.shape
    if padding is None:
        return (torch.arange(tokens, device=embeds.device) + past)[None].expand(batch, tokens)
    return (padding.long().cumsum(-1) - 1).clamp(min=0)[:, -tokens:]


def first_real_token(padding: Tensor | None, past: int | Tensor) -> Tensor | None:
    """Index of each row's first real token in this call (B,), negative if before it; None for the plain case."""
    if padding is None:
        return None
    index = padding.to(torch.int32).argmax(dim=-1) - past
    if is_traced():
        return index
    if not isinstance(past, Tensor) and past == 0:
        return index
    return index if bool((index >= 0).any()) else None  # None: every row's sentinel is in the cache

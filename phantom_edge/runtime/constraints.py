"""Settings of a checkpoint that change logits before a token is chosen, in numpy.

The numbers are those of transformers' logits processors, bit for bit in float32 (generation/logits_process.py, in the
order of ``_get_logits_processor`` in generation/utils.py).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from phantom_edge.bundle.prompt import Generation
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.runtime.engine import Ints

Logits = NDArray[np.float32]
Tokens = Sequence[int] | Ints
Constraint = Callable[[Tokens, Logits], Logits]
"""From tokens of prompt and answer (N,) and logits (vocab,) to changed logits."""

BANNED = np.float32(-np.inf)
"""Logit of a token that must not be chosen."""


def constraint(generation: Generation, stop_tokens: Sequence[int], prompt_tokens: int) -> Constraint:
    """The settings for a prompt of ``prompt_tokens``; arguments stay as they are, EdgeError where all are banned."""
    stops, never, at_begin = map(list, (stop_tokens, generation.suppress_tokens, generation.begin_suppress_tokens))

    def constrain(ids: Tokens, logits: Logits) -> Logits:
        changed, so_far = logits.copy(), np.asarray(ids, np.int64)
        if generation.repetition_penalty != 1:
            _penalize(changed, so_far, np.float32(generation.repetition_penalty))
        if generation.no_repeat_ngram:
            changed[_completing(so_far, generation.no_repeat_ngram)] = BANNED
        if len(so_far) < generation.min_length or len(so_far) - prompt_tokens < generation.min_new_tokens:
            changed[stops] = BANNED
        changed[never] = BANNED
        if len(so_far) == prompt_tokens:
            changed[at_begin] = BANNED
        if np.isneginf(changed).all():
            raise all_banned()
        return changed

    return unchanged if generation.is_plain else constrain


def unchanged(_ids: Tokens, logits: Logits) -> Logits:
    """The logits as they are."""
    return logits


def all_banned() -> EdgeError:
    """The error where no token is left; transformers would answer with token 0, or end in a traceback."""
    return EdgeError(
        "the checkpoint's generation settings ban every token at this place of the answer",
        "loosen no_repeat_ngram_size or suppress_tokens in generation_config.json, or ask for fewer tokens",
    )


def _penalize(logits: Logits, ids: Ints, penalty: np.float32) -> None:
    seen = np.unique(ids)
    scores = logits[seen]
    logits[seen] = np.where(scores < 0, scores * penalty, scores / penalty)


def _completing(ids: Ints, length: int) -> Ints:
    """Tokens that would complete a sequence of ``length`` tokens that has occurred."""
    if len(ids) < length:
        return ids[:0]
    windows = np.lib.stride_tricks.sliding_window_view(ids, length)  # (N - length + 1, length)
    matches = (windows[:, :-1] == ids[len(ids) + 1 - length :]).all(axis=-1)
    completing: Ints = windows[matches, -1]
    return completing

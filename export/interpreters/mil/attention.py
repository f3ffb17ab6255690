"""Softmax and attention. Definitions: ops/defs/iOS18/transformers.py, ops/defs/iOS15/activation.py.

A row of -inf alone gives NaN, as in the definition; torch's own attention would give 0.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from phantom_edge.export.interpreters.mil.call import Call, Kernel, partial_sums, rounding

Make = Callable[[Call], Kernel]


def softmax(call: Call) -> Kernel:
    """Softmax along ``axis``."""
    call.takes("x")
    axis, notes = call.axis("axis", -1, call.rank("x")), call.notes
    run = _softmax(call, axis)
    if notes is None:
        return run

    def noted(x: Tensor) -> Tensor:
        notes.softmax_input(x, axis)
        return run(x)

    return noted


def _softmax(call: Call, axis: int) -> Callable[[Tensor], Tensor]:
    if not call.strict:
        return lambda x: torch.softmax(x, axis)
    round_ = rounding(call.notes)

    def strict(x: Tensor) -> Tensor:
        each = round_(torch.exp(round_(x - x.amax(axis, keepdim=True))))
        return each / partial_sums(each, (axis % x.ndim,), round_)

    return strict


def scaled_dot_product_attention(call: Call) -> Kernel:
    """``softmax(query @ key.T / sqrt(E) + mask) @ value``; a boolean mask is True where keys take part."""
    call.takes("query", "key", "value")
    call.needs_float("query", "key", "value")
    is_boolean = call.takes_if_given("attn_mask") and call.typed("attn_mask").dtype == "bool"
    run, notes = _softmax(call, -1), call.notes
    round_ = rounding(notes) if call.strict else None

    def kernel(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = query @ key.mT / math.sqrt(query.shape[-1])
        scores = scores if round_ is None else round_(scores)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if is_boolean else scores + mask
        scores = scores if round_ is None else round_(scores)
        if notes is not None:
            notes.softmax_input(scores, -1)
        weights = run(scores)
        return (weights if round_ is None else round_(weights)) @ value

    return kernel


ATTENTION: dict[str, Make] = {
    "softmax": softmax,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}

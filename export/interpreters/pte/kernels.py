"""Instructions that no delegate runs, in torch.

Operators of aten are torch's own, of the same names. The others follow ExecuTorch's kernels: kernels/prim_ops,
kernels/quantized/cpu/op_embedding.cpp and op_embedding4b.cpp, extension/llm/custom_ops.
"""

import operator
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from phantom_edge.export.interpreters.pte.container import refuse
from phantom_edge.export.interpreters.pte.held import Held, unpacked

Argument = Tensor | int | float | bool | str | None | list[int] | list[float] | list[bool] | list[Tensor | None]
"""Argument of an operator."""

Found = Tensor | int | float | bool
"""Result of an operator."""


def update_cache(rows: Tensor, cache: Tensor, start: int) -> None:
    """Writes rows (1, N, H, D) to a cache (1, context, H, D) from position ``start`` on."""
    if start < 0 or rows.dtype != cache.dtype or rows.shape[2:] != cache.shape[2:] or rows.shape[0] != cache.shape[0]:
        raise ValueError(f"{tuple(rows.shape)} at {start} of {tuple(cache.shape)}")
    cache.narrow(1, start, rows.shape[1]).copy_(rows)


def custom_sdpa(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    start: int,
    mask: Tensor | None,
    dropout: float,
    is_causal: bool,
    scale: float | None,
) -> Tensor:
    """Attention of queries (1, N, H, D) over caches (1, context, kv_heads, D); query n sees positions to start + n.

    Unless ``is_causal`` all queries see positions to start + N - 1, and with a mask (N, context), which is added to the
    scores, the whole cache.
    """
    tokens, heads, width = query.shape[1:]
    if dropout or (is_causal and mask is not None) or start < 0:
        raise ValueError(f"dropout {dropout}, causal {is_causal}, start {start}, and a mask of {mask is not None}")
    seen = start + tokens if mask is None else keys.shape[1]
    repeats, rest = divmod(heads, keys.shape[2])
    if rest or seen > keys.shape[1]:
        raise ValueError(f"{heads} heads and {seen} positions beside {tuple(keys.shape)}")
    key, value = (
        cache.narrow(1, 0, seen).permute(0, 2, 1, 3).repeat_interleave(repeats, dim=1) for cache in (keys, values)
    )
    scores = query.permute(0, 2, 1, 3) @ key.mT * (width**-0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(tokens, seen, dtype=torch.bool).triu(start + 1)
        scores = scores.masked_fill(later, -torch.inf)
    elif mask is not None:
        scores = scores + mask
    return (scores.softmax(-1) @ value).permute(0, 2, 1, 3)


def table_of(name: str, args: Sequence[Argument]) -> Held:
    """The table of an operator that looks up rows of integers, from its arguments."""
    weight, scales, zeros, least, most, _ = args
    bits = BITS[name]
    if zeros is not None or (least, most) != (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1):
        raise refuse(f"{name} with zero points, or integers from {least} to {most}")
    if not isinstance(weight, Tensor) or not isinstance(scales, Tensor):
        raise TypeError("no table")
    if weight.ndim != 2 or weight.dtype != (torch.uint8 if bits == 4 else torch.int8) or len(scales) != len(weight):
        raise ValueError(f"a table of {weight.dtype} {tuple(weight.shape)} with scales {tuple(scales.shape)}")
    integers = unpacked(weight, low_first=False) if bits == 4 else weight
    return Held(integers, scales.float().view(len(scales), -1))


def look_up(name: str, args: Sequence[Argument]) -> Tensor:
    """Rows of a table of integers, dequantized."""
    weight, scales, *rest, ids = args
    assert isinstance(weight, Tensor) and isinstance(scales, Tensor) and isinstance(ids, Tensor)
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < len(weight):
        raise IndexError(f"an id is outside a table of {len(weight)} rows")
    rows = ids.flatten()
    found = table_of(name, [weight[rows], scales[rows], *rest, ids]).weight
    return found.view(*ids.shape, -1)


BITS = {"quantized_decomposed::embedding_4bit.out": 4, "quantized_decomposed::embedding_byte.out": 8}
"""Operators that look up rows of integers."""


def decomposed(name: str, args: Sequence[Argument]) -> list[Tensor]:
    """Results of quantization and dequantization outside of a delegate, by torch's operators of the same names."""
    import torch.ao.quantization.fx._decomposed  # registers the operators

    base = name.partition("::")[2].removesuffix(".out")
    plain, by_name = (args[:-1], {"out_dtype": args[-1]}) if name == WEIGHT else (args, {})
    found = getattr(torch.ops.quantized_decomposed, base).default(*plain, **by_name)
    return list(found) if isinstance(found, tuple) else [found]


def weight_of(args: Sequence[Argument]) -> Held:
    """The weight of an operator that dequantizes one, from its arguments."""
    integers, scales, zeros, axis, *_ = args
    if not isinstance(integers, Tensor) or not isinstance(scales, Tensor) or not isinstance(zeros, Tensor | None):
        raise TypeError("no weight")
    if axis != 0 or integers.ndim != 2 or integers.dtype != torch.int8 or (zeros is not None and bool(zeros.any())):
        raise refuse(f"{WEIGHT} with zero points, or of {integers.dtype} along {axis}")
    return Held(integers, scales.float().view(-1, 1))


QUANTIZE, DEQUANTIZE = "quantized_decomposed::quantize_per_token.out", "quantized_decomposed::dequantize_per_token.out"
CHOOSE = "quantized_decomposed::choose_qparams_per_token_asymmetric.out"
WEIGHT = "quantized_decomposed::dequantize_per_channel.out"

SDPA, CACHE = "llama::custom_sdpa.out", "llama::update_cache.out"
VIEW = "executorch_prim::et_view.default"

NUMBERS: Mapping[str, Callable[..., Found]] = {
    "aten::sym_size.int": lambda x, dim: x.shape[dim],
    "aten::_local_scalar_dense.": lambda x: x.item(),
    "executorch_prim::add.Scalar": operator.add,
    "executorch_prim::sub.Scalar": operator.sub,
    "executorch_prim::mul.Scalar": operator.mul,
    "executorch_prim::floordiv.Scalar": operator.floordiv,
}
"""Operators that compute a number, which they write to their last argument."""


class Aten:
    """An operator of torch that writes to its arguments, such as ``aten::add.out``.

    Raises EdgeError for an unknown one.
    """

    def __init__(self, name: str) -> None:
        space, _, rest = name.partition("::")
        base, _, overload = rest.partition(".")
        found = getattr(getattr(torch.ops.aten, base, None), overload, None) if overload.endswith("out") else None
        if space != "aten" or found is None:
            raise refuse(f"the operator {name}")
        self.name, self.operator = name, found
        arguments = found._schema.arguments
        self.named: list[tuple[str, bool]] = [(one.name, one.kwarg_only) for one in arguments if not one.is_out]
        self.outs: list[str] = [one.name for one in arguments if one.is_out]

    def run(self, args: Sequence[Argument], outs: Sequence[list[Tensor] | Tensor]) -> None:
        """Computes into ``outs``, empty tensors that are resized as needed."""
        given = list(zip(self.named, args, strict=True))
        plain = [value for (_, by_name), value in given if not by_name]
        by_name = {name: value for (name, by_name), value in given if by_name}
        self.operator(*plain, **by_name, **dict(zip(self.outs, outs, strict=True)))

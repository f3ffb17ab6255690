"""Weights against the range of float16. Takes as long as reading them, so it always runs before they are lowered."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.foundation.errors import EdgeError


def check_float16(source: Source, step: Callable[[int], None], remedy: str) -> None:
    """Raises EdgeError for a tensor whose numbers float16 rounds to infinity; ``step`` counts bytes read.

    Tensors are read one by one, quantized ones dequantized: float16 engines hold these products.
    """
    for name, tensor in source.tensors.items():
        _check(name, source.read(name), remedy)
        step(tensor.bytes)


def check_folded(forms: Sequence[LayerForm], remedy: str) -> None:
    """Raises EdgeError where constants that the passes computed exceed float16."""
    for number, form in enumerate(forms):
        for name, tensor in _constants(form):
            _check(f"{name} of layer {number}, folded,", tensor, remedy)


def _constants(form: LayerForm) -> Iterator[tuple[str, Tensor]]:
    for kind in ("query", "key", "value"):
        folded = getattr(form.maps, kind)
        yield f"the phantom {kind} map's keys", folded.keys
        yield f"the phantom {kind} map's values", folded.values
    yield "the basis of phantom keys", form.bases.key.mean
    yield "the basis of phantom values", form.bases.value.mean


def _check(name: str, tensor: Tensor, remedy: str) -> None:
    if tensor.numel() == 0:
        return
    low, high = (float(end) for end in torch.aminmax(tensor))
    largest = max(-low, high)
    if not torch.tensor(largest, dtype=torch.float64).half().isfinite():
        raise EdgeError(f"{name} does not fit into float16: it holds {largest:.3g}, and float16 ends at 65504", remedy)

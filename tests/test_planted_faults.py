"""The golden comparison can fail: each plausible mistake, planted in our model, moves the logits past its bound.

The bound of ``test_golden.py`` is 2e-5; every fault here must show at 20 times that, with eta 1.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from golden_checkpoints import ARCHITECTURES, Golden
from torch import Tensor

from phantom_edge.models import attention, text_model
from phantom_edge.models.attention import HeadMap, PhantomAttention
from phantom_edge.models.cache import Sentinel

Fault = Callable[[Golden, pytest.MonkeyPatch], None]


def layers(g: Golden) -> list[PhantomAttention]:
    return [layer.self_attn for layer in g.model.model.language_model.layers]


def scale_of_the_doubled_head(g: Golden, patch: pytest.MonkeyPatch) -> None:
    for layer in layers(g):
        patch.setattr(layer, "scaling", (2 * layer.head_dim) ** -0.5)


def swapped_gates(g: Golden, patch: pytest.MonkeyPatch) -> None:
    for layer in layers(g):
        plain, phantom = layer.gate_plain, layer.gate_phantom
        patch.setitem(layer._modules, "gate_plain", phantom)
        patch.setitem(layer._modules, "gate_phantom", plain)


def phantom_off(g: Golden, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HeadMap, "forward", lambda self, x, sentinel: torch.zeros_like(x))


def tanh_gelu(g: Golden, patch: pytest.MonkeyPatch) -> None:
    exact = F.gelu
    patch.setattr(attention.F, "gelu", lambda x: exact(x, approximate="tanh"))


def sentinel_is_the_last_token(g: Golden, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        attention,
        "find_sentinel",
        lambda query, key, value, index, layer: Sentinel(query[:, :, -1], key[:, :, -1], value[:, :, -1]),
    )


def phantom_before_rope(g: Golden, patch: pytest.MonkeyPatch) -> None:
    """The maps see unrotated rows."""
    rotate = attention.rotate
    seen: list[Tensor] = []

    def remember(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        turned = rotate(x, cos, sin)
        seen.append(x)
        seen.append(turned)
        return turned

    forward = HeadMap.forward

    def unrotated(self: HeadMap, x: Tensor, sentinel: Tensor) -> Tensor:
        for plain, turned in zip(seen[::2], seen[1::2], strict=True):
            if turned is x:
                return forward(self, plain, sentinel)
        return forward(self, x, sentinel)

    patch.setattr(attention, "rotate", remember)
    patch.setattr(HeadMap, "forward", unrotated)


def no_value_residual(g: Golden, patch: pytest.MonkeyPatch) -> None:
    for layer in layers(g):
        forward = layer.phantom_value.forward
        patch.setattr(layer.phantom_value, "forward", lambda x, s, forward=forward: forward(x, s) - x)


def key_residual(g: Golden, patch: pytest.MonkeyPatch) -> None:
    for layer in layers(g):
        forward = layer.phantom_key.forward
        patch.setattr(layer.phantom_key, "forward", lambda x, s, forward=forward: forward(x, s) + x)


def positions_off_by_one(g: Golden, patch: pytest.MonkeyPatch) -> None:
    positions = text_model.count_positions
    patch.setattr(text_model, "count_positions", lambda *args: positions(*args) + 1)


FAULTS = (
    scale_of_the_doubled_head,
    swapped_gates,
    phantom_off,
    tanh_gelu,
    sentinel_is_the_last_token,
    phantom_before_rope,
    no_value_residual,
    key_residual,
    positions_off_by_one,
)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_fault_shows(fault: Fault, arch: str, golden, monkeypatch: pytest.MonkeyPatch) -> None:
    g = golden(f"{arch}-1.0")
    fault(g, monkeypatch)
    logits = g.model(inputs_embeds=g.io["inputs_embeds"]).logits
    monkeypatch.undo()
    assert (logits - g.io["prefill_logits"]).abs().max() > 4e-4
    restored = g.model(inputs_embeds=g.io["inputs_embeds"]).logits
    torch.testing.assert_close(restored, g.io["prefill_logits"], atol=2e-5, rtol=0)

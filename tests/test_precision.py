"""What runs in float32 even where the weights do not."""

import pytest
import torch
from golden_checkpoints import Golden
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from phantom_edge.checkpoint.pretrained import PhantomForConditionalGeneration
from phantom_edge.models.attention import HeadMap
from phantom_edge.models.decoder import RMSNorm

HALVES = (torch.bfloat16, torch.float16)


class SoftmaxDtypes(TorchDispatchMode):
    """The dtypes that softmax kernels compute in.

    PyTorch's CPU kernel widens halves on its own, to the same values; exported graphs and other devices need not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.dtype] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten._softmax.default:
            self.seen.append(torch.float32 if args[2] else args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size", [1.0, 300.0, 3e4])
def test_norm_is_rounded_once(dtype: torch.dtype, size: float) -> None:
    """Squares of 300 exceed float16; means of bfloat16 squares are off by more than the result's last bit."""
    x = (torch.randn(64, 96, generator=torch.Generator().manual_seed(0)) * size).clamp(-6e4, 6e4).to(dtype)
    norm = RMSNorm(96, 1e-6).to(dtype)
    ours = norm(x)
    exact = x.double() / (x.double().pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    assert ours.dtype == dtype
    half_a_bit = torch.finfo(dtype).eps / 2
    error = (ours.double() - exact).abs() / exact.abs().clamp(min=0.01)
    assert error.max().item() <= half_a_bit * 1.01


def test_norm_rounds_before_its_weight() -> None:
    """As the released models do: the product of two rounded numbers."""
    norm = RMSNorm(96, 1e-6).to(torch.bfloat16)
    generator = torch.Generator().manual_seed(1)
    norm.weight.data = torch.rand(96, generator=generator).to(torch.bfloat16)
    x = torch.randn(64, 96, generator=generator).to(torch.bfloat16)
    wide = x.float()
    rounded = (wide / (wide.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()).to(torch.bfloat16)
    wanted = (norm.weight.double() * rounded.double()).to(torch.bfloat16)  # exact product, one rounding
    torch.testing.assert_close(norm(x), wanted, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_head_map_mixes_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = HeadMap(16, eta=1.0).to(dtype)
    x, sentinel = torch.randn(2, 4, 5, 16, dtype=dtype), torch.randn(2, 4, 16, dtype=dtype)
    with SoftmaxDtypes() as softmax:
        ours = module(x, sentinel)
    assert softmax.seen == [torch.float32]
    assert ours.dtype == dtype
    exact = module.double()(x.double(), sentinel.double())
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps * exact.abs().max().item())


def test_every_softmax_of_the_decoder_is_float32(golden) -> None:
    """Four a layer: three maps and the attention itself."""
    g: Golden = golden("0_5b-1.0")
    half = PhantomForConditionalGeneration.from_pretrained(
        g.folder, dtype=torch.bfloat16, attn_implementation="eager"
    ).eval()
    ids: Tensor = g.io["text.input_ids"]
    with SoftmaxDtypes() as softmax:
        half(input_ids=ids)
    assert softmax.seen == [torch.float32] * 4 * half.config.text.num_hidden_layers

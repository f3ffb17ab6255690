"""What goes wrong in silence in ExecuTorch 1.4, each shown, and beside it what our programs do instead."""

import pytest
import torch
from torch import nn

pytest.importorskip("executorch")

from executorch_programs import Loaded, program_of
from export_settings import settings_for

from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.export.interpreters.pte.importing import quantized_operators
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.linear import RoundedEmbedding, RoundedLinear
from phantom_edge.export.targets.executorch.lower import settle
from phantom_edge.export.targets.executorch.vision import CentredNorm
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.quiet import quiet
from phantom_edge.quantize.rounding import nearest


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


def test_linear_layers_of_integers_without_rounded_inputs_lose_their_scales() -> None:
    with quiet():
        from torchao.quantization import IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerAxis
    x = torch.randn(1, 5, 96, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(64, 96, generator=torch.Generator().manual_seed(1))
    layer = nn.Sequential(nn.Linear(96, 64, bias=False))
    layer[0].weight.data = weight.clone()
    with quiet():
        quantize_(layer, IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0)))
    wanted, scales = layer(x), layer[0].weight.scale.view(-1)
    found = Loaded(program_of(layer.eval(), x).buffer)(x)
    assert off(found, wanted) > 1
    assert off(found * scales, wanted) < 1e-5
    ours = RoundedLinear(nearest(weight, SCHEMES["int8"]))
    assert off(Loaded(program_of(ours, x).buffer)(x), wanted) < 2e-2


@pytest.mark.parametrize("scheme", ["int8", "int4-g32-pos", "int4-g64-pos"])
def test_our_layers_of_integers_are_what_torch_makes_of_them(scheme: str) -> None:
    """Rows of different sizes, each with its own rounding; the bias is added in float."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 9, 128, generator=generator) * torch.logspace(-3, 2, 9)[None, :, None]
    bias = torch.randn(48, generator=generator)
    layer = RoundedLinear(nearest(torch.randn(48, 128, generator=generator), SCHEMES[scheme]), bias)
    wanted, found = layer(x), Loaded(program_of(layer, x, moving=((0, 1),), most=20).buffer)(x)
    assert all(off(one, other) < 1e-5 for one, other in zip(found[0], wanted[0], strict=True))


@pytest.mark.parametrize("scheme", ["int8", "int8-g32", "int4-g32", "int4-g32-pos", "int3-g32"])
def test_embeddings_of_integers_are_their_dequantized_rows(scheme: str) -> None:
    held = nearest(torch.randn(50, 64, generator=torch.Generator().manual_seed(3)), SCHEMES[scheme])
    ids = torch.tensor([[0, 49, 7, 7]])
    found = Loaded(program_of(RoundedEmbedding(held), ids).buffer)(ids)
    assert torch.equal(found[0], held.dequantize()[ids[0]])


def test_scales_of_groups_may_not_be_negative() -> None:
    """So such schemes are refused, and the shipped recipes have none."""
    held = nearest(torch.randn(64, 64, generator=torch.Generator().manual_seed(4)), SCHEMES["int4-g32"])
    assert bool((held.scales < 0).any())
    with pytest.raises(RuntimeError):
        Loaded(program_of(RoundedLinear(held), torch.randn(1, 3, 64)).buffer)


def test_own_kernels_multiply_with_no_groups() -> None:
    """So such schemes are refused without a delegate; rows of 8 bits are not."""
    quantized_operators()
    x, weight = torch.randn(1, 3, 64), torch.randn(24, 64)
    for scheme in ("int8", "int4-g32-pos"):
        methods = {"forward": Method(RoundedLinear(nearest(weight, SCHEMES[scheme])), (x,))}
        edge = lowered(methods, [], {}, lambda _: None, traced=False)
        if scheme == "int8":
            assembled(edge)
            continue
        with pytest.raises(RuntimeError, match="dequantize_per_channel_group"):
            assembled(edge)


def test_layer_norms_of_float16_are_wrong() -> None:
    x = torch.randn(1, 5, 256, generator=torch.Generator().manual_seed(5))
    theirs = nn.LayerNorm(256).half().eval()
    assert off(Loaded(program_of(theirs, x.half()).buffer)(x.half()).float(), theirs(x.half()).float()) > 0.5
    ours = CentredNorm(torch.rand(256), torch.rand(256), 1e-6)
    wanted = nn.functional.layer_norm(x, (256,), ours.weight, ours.bias, ours.eps)
    assert off(Loaded(program_of(ours, x).buffer)(x), wanted) < 1e-6


class Writes(nn.Module):
    def __init__(self, desk: nn.Module) -> None:
        super().__init__()
        self.desk = desk

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.desk.sheet.copy_(x)
        return x + 0


class Reads(Writes):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.desk.sheet + x


def test_methods_do_not_share_what_they_write() -> None:
    """So one method of ours reads prompts and answers, and no other has anything to keep."""
    desk, x = nn.Module(), torch.ones(3)
    desk.register_buffer("sheet", torch.zeros(3))
    methods = {"write": Method(Writes(desk), (x,)), "read": Method(Reads(desk), (x,))}
    program = Loaded(assembled(lowered(methods, [], {}, lambda _: None, traced=False)).buffer, "write").program
    program.load_method("write").execute([7 * x])
    assert torch.equal(program.load_method("read").execute([x])[0], x)


@pytest.mark.parametrize(
    ("name", "settings", "schemes", "said"),
    [
        ("float16", {"precision": "fp16"}, {}, "fp32"),
        ("no delegate", {"backend": "portable", "strict_delegation": 0.1}, {}, "no delegate"),
        ("no kernel", {"backend": "portable"}, {"lm_head.weight": "int4-g32-pos"}, "no groups"),
        ("negative", {}, {"lm_head.weight": "int4-g32"}, "may be negative"),
        ("groups", {}, {"lm_head.weight": "int8-g32"}, "groups of 8 bits"),
        ("zeros", {}, {"lm_head.weight": "int4-g32-asym"}, "zero points"),
        ("rows", {}, {"lm_head.weight": "int4-pos"}, "whole rows of 4 bits"),
        ("palettes", {}, {"lm_head.weight": "lut4-r16"}, "palettes"),
        ("static", {}, {"model.projector.fc1.weight": "w8a8"}, "at run time"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_computed(
    name: str, settings: dict, schemes: dict, said: str, golden
) -> None:
    asked = settings_for("executorch", **{"max_context": 64, **settings})
    with pytest.raises(EdgeError, match=said):
        settle(golden("0_5b-1.0").model.config, {key: SCHEMES[one] for key, one in schemes.items()}, asked)

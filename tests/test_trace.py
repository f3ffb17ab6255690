"""The model is traceable as written: both of torch's front ends give programs that compute the same.

eta is 1, so that a branch lost in tracing shows.
"""

import pytest
import torch
from torch import Tensor, nn
from traced_modules import Decoder


class Vision(nn.Module):
    """Pixels to image tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model.get_image_features(pixel_values).pooler_output


@pytest.mark.parametrize("name", ["0_5b-1.0", "1_8b-1.0", "3_8b-sw16-1.0", "3_8b-sulong-1.0"])
def test_torch_export_of_the_decoder(golden, name: str) -> None:
    g = golden(name)
    embeds = g.io["inputs_embeds"]
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    exported = torch.export.export(Decoder(g.model).eval(), (embeds, mask))
    torch.testing.assert_close(exported.module()(embeds, mask), g.io["prefill_logits"], atol=2e-5, rtol=0)
    padded = mask.clone()
    padded[:, :7] = 0  # the mask is an input of the program, not a constant of it
    want = g.model(inputs_embeds=embeds, attention_mask=padded).logits[:, 7:]
    torch.testing.assert_close(exported.module()(embeds, padded)[:, 7:], want, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", ["0_5b-1.0", "7b-1.0"])
def test_torch_export_of_the_vision_tower(golden, name: str) -> None:
    g = golden(name)
    exported = torch.export.export(Vision(g.model).eval(), (g.io["pixel_values"],))
    torch.testing.assert_close(exported.module()(g.io["pixel_values"]), g.io["extract_feature"], atol=2e-5, rtol=0)


@pytest.mark.filterwarnings("ignore")  # the tracer warns of every Python value; the comparison is what counts
def test_jit_trace(golden) -> None:
    g = golden("0_5b-1.0")
    embeds = g.io["inputs_embeds"]
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    g.model.set_attn_implementation("eager")
    try:
        traced = torch.jit.trace(Decoder(g.model).eval(), (embeds, mask))
        vision = torch.jit.trace(Vision(g.model).eval(), (g.io["pixel_values"],))
    finally:
        g.model.set_attn_implementation("sdpa")
    torch.testing.assert_close(traced(embeds, mask), g.io["prefill_logits"], atol=2e-5, rtol=0)
    torch.testing.assert_close(vision(g.io["pixel_values"]), g.io["extract_feature"], atol=2e-5, rtol=0)

"""Attention masks of four dimensions: the same logits as with the mask of real tokens, or a refusal.

The golden batch has a row padded on the left. Float32: the bound is that of ``test_golden.py``, 2e-5.
"""

import pytest
import torch
from golden_checkpoints import Golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from traced_modules import Decoder
from transformers import StaticCache

from phantom_edge.foundation.errors import EdgeError

ATOL = 2e-5
LOWEST = torch.finfo(torch.float32).min
FORMS = {
    "boolean": lambda sees: sees,
    "lowest": lambda sees: torch.zeros(sees.shape).masked_fill(~sees, LOWEST),
    "infinite": lambda sees: torch.zeros(sees.shape).masked_fill(~sees, -torch.inf),
    "ten thousand": lambda sees: torch.zeros(sees.shape).masked_fill(~sees, -10_000.0),
    "double": lambda sees: torch.zeros(sees.shape, dtype=torch.float64).masked_fill(~sees, -1e300),
}
PADS = {
    "see nothing": lambda sees, real: sees & real[:, None, :, None],
    "see what a token would": lambda sees, real: sees,
    "see themselves": lambda sees, real: sees | (~real[:, None, :, None] & torch.eye(sees.shape[-1], dtype=torch.bool)),
    "see everything": lambda sees, real: sees | ~real[:, None, :, None],
}


def causal(real: Tensor) -> Tensor:
    """Who sees whom (B, 1, N, N), from a mask (B, N) of real tokens."""
    tokens = real.shape[1]
    return torch.ones(tokens, tokens, dtype=torch.bool).tril() & real.bool()[:, None, None, :]


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["0_5b-1.0", "1_8b-1.0"])
def test_prefill_and_decode(golden, name: str, form: str, kind: str) -> None:
    g = golden(name)
    real = g.io["batch.attention_mask"].bool()
    make = FORMS[form]
    before = g.model.config._attn_implementation
    g.model.set_attn_implementation(kind)
    try:
        out = g.model(inputs_embeds=g.io["batch.inputs_embeds"], attention_mask=make(causal(real)), use_cache=True)
        torch.testing.assert_close(out.logits[real], g.io["batch.prefill_logits"][real], atol=ATOL, rtol=0)
        for step in range(4):
            real = torch.cat([real, real.new_ones(2, 1)], dim=1)
            out = g.model(
                input_ids=g.io["batch.decode_token_ids"][:, step : step + 1],
                attention_mask=make(real[:, None, None, :]),
                past_key_values=out.past_key_values,
                use_cache=True,
            )
            torch.testing.assert_close(out.logits[:, 0], g.io["batch.decode_logits"][:, step], atol=ATOL, rtol=0)
    finally:
        g.model.set_attn_implementation(before)


@pytest.mark.parametrize("pads", PADS)
def test_what_padding_sees_does_not_matter(golden, pads: str) -> None:
    g = golden("7b-1.0")
    real = g.io["batch.attention_mask"].bool()
    sees = PADS[pads](causal(real), real)
    logits = g.model(inputs_embeds=g.io["batch.inputs_embeds"], attention_mask=sees).logits
    torch.testing.assert_close(logits[real], g.io["batch.prefill_logits"][real], atol=ATOL, rtol=0)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(data=st.data())
@pytest.mark.parametrize("static", [False, True])
def test_any_padding_under_any_chunking(golden, static: bool, data: st.DataObject) -> None:
    g = golden("0_5b-1.0")
    embeds = g.io["inputs_embeds"][:, :20]
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    size = data.draw(st.sampled_from([1, 3, 7, 20]))
    longest = max(lengths)
    batch = torch.zeros(len(lengths), longest, embeds.shape[2])
    real = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for row, length in enumerate(lengths):
        batch[row, longest - length :] = embeds[0, :length]
        real[row, longest - length :] = True
    room = 24 if static else longest
    sees = nn.functional.pad(causal(real), (0, room - longest))
    cache = StaticCache(config=g.model.config, max_cache_len=room) if static else None
    logits = []
    for start in range(0, longest, size):
        stop = min(start + size, longest)
        out = g.model(
            inputs_embeds=batch[:, start:stop],
            attention_mask=sees[:, :, start:stop, : room if static else stop],
            past_key_values=cache,
            use_cache=True,
        )
        cache = out.past_key_values
        logits.append(out.logits)
    whole = torch.cat(logits, dim=1)
    for row, length in enumerate(lengths):
        alone = g.model(inputs_embeds=embeds[:, :length]).logits
        torch.testing.assert_close(whole[row : row + 1, longest - length :], alone, atol=ATOL, rtol=0)


def test_a_tree_of_drafts(golden) -> None:
    """Two continuations of one prompt in one row: each token's logits are those of its own branch."""
    g = golden("0_5b-1.0")
    embeds = g.io["inputs_embeds"][:, :12]  # 8 of a prompt, then two branches of 2
    sees = torch.ones(12, 12, dtype=torch.bool).tril()
    sees[10:, 8:10] = False
    logits = g.model(inputs_embeds=embeds, attention_mask=sees[None, None]).logits
    second = torch.cat([embeds[:, :8], embeds[:, 10:]], dim=1)
    torch.testing.assert_close(logits[:, :10], g.model(inputs_embeds=embeds[:, :10]).logits, atol=ATOL, rtol=0)
    torch.testing.assert_close(logits[:, 10:], g.model(inputs_embeds=second).logits[:, 8:], atol=ATOL, rtol=0)


def test_a_half_precision_mask_of_single_precision(golden) -> None:
    g = golden("0_5b-1.0")
    model = type(g.model).from_pretrained(g.folder, dtype=torch.bfloat16)
    real = g.io["batch.attention_mask"].bool()
    embeds = g.io["batch.inputs_embeds"].bfloat16()
    ours = model(inputs_embeds=embeds, attention_mask=FORMS["lowest"](causal(real))).logits
    assert torch.isfinite(ours).all()
    assert torch.equal(ours[real], model(inputs_embeds=embeds, attention_mask=causal(real)).logits[real])


def packed(tokens: int) -> Tensor:
    sees = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    sees[tokens // 2 :, : tokens // 2] = False
    return sees[None, None]


def refused(g: Golden, mask: Tensor, match: str) -> None:
    with pytest.raises(EdgeError, match=match):
        g.model(inputs_embeds=g.io["inputs_embeds"][:, :10], attention_mask=mask)


def test_masks_that_no_sentinel_follows_from(golden) -> None:
    g = golden("0_5b-1.0")
    everything = torch.ones(1, 1, 10, 10, dtype=torch.bool)
    refused(g, packed(10), "several sequences of one row")
    refused(g, everything, "see later ones")
    refused(g, everything.tril().long(), "four dimensions is torch.int64")
    refused(g, everything[0], r"shape \(1, 10, 10\), which is neither \(1, 10\) nor \(1, 1, 10, 10\)")
    refused(g, everything.expand(1, 4, 10, 10), "shape")
    refused(g, everything[..., :9], "shape")


@pytest.mark.parametrize("name", ["0_5b-1.0", "3_8b-sw16-1.0"])
def test_packed_rows(golden, name: str) -> None:
    """transformers makes a mask of blocks from such positions; the second block has no sentinel."""
    g = golden(name)
    with pytest.raises(EdgeError, match="restart inside a row"):
        g.model(
            inputs_embeds=g.io["inputs_embeds"][:, :10], position_ids=torch.arange(5).repeat(2)[None], use_cache=False
        )


def test_a_window_hides_what_positions_are_read_from(golden) -> None:
    g = golden("3_8b-sw16-1.0")
    embeds = g.io["inputs_embeds"]
    tokens = embeds.shape[1]
    sees = torch.ones(tokens, tokens, dtype=torch.bool).tril().triu(1 - g.model.config.text.sliding_window)[None, None]
    with pytest.raises(EdgeError, match="a window hides the first tokens"):
        g.model(inputs_embeds=embeds, attention_mask=sees)
    positions = torch.arange(tokens)[None]
    logits = g.model(inputs_embeds=embeds, attention_mask=sees, position_ids=positions).logits
    torch.testing.assert_close(logits, g.io["prefill_logits"], atol=ATOL, rtol=0)


@pytest.mark.filterwarnings("ignore")  # the tracer warns of every Python value; the comparison is what counts
@pytest.mark.parametrize("form", ["boolean", "lowest"])
@pytest.mark.parametrize("tracer", ["export", "jit"])
def test_traced(golden, tracer: str, form: str) -> None:
    """Recorded without padding, run with it: the mask is an input of the program, not a constant of it."""
    g = golden("0_5b-1.0")
    embeds, real = g.io["batch.inputs_embeds"], g.io["batch.attention_mask"].bool()
    example = embeds, FORMS[form](causal(torch.ones_like(real)))
    decoder = Decoder(g.model).eval()
    record = {"jit": torch.jit.trace, "export": lambda *args: torch.export.export(*args).module()}
    program = record[tracer](decoder, example)
    logits = program(embeds, FORMS[form](causal(real)))
    torch.testing.assert_close(logits[real], g.io["batch.prefill_logits"][real], atol=ATOL, rtol=0)

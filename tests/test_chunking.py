"""Cached decode and prefill in chunks equal one full forward: the property that the reference lacks.

Up to the trained length, that is: past it dynamic NTK and longrope rotate by the length so far.

Float32 on a tiny model: summation order moves logits by about 1e-6, the bound is 1e-5.
"""

import pytest
import torch
from golden_checkpoints import ARCHITECTURES, Golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from phantom_edge.models import text_model
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.rope import rotary_tables

NAMES = (*(f"{arch}-1.0" for arch in ARCHITECTURES), "3_8b-sw16-1.0", "3_8b-sushort-1.0")
ATOL = 1e-5
slow_is_fine = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@pytest.fixture(params=NAMES)
def one(request: pytest.FixtureRequest, golden) -> Golden:
    return golden(request.param)


def in_chunks(g: Golden, embeds: Tensor, sizes: list[int], mask: Tensor | None = None) -> Tensor:
    """Logits of all positions, ``embeds`` (B, N, hidden) fed in chunks of ``sizes``."""
    cache, logits, start = None, [], 0
    for size in sizes:
        stop = min(start + size, embeds.shape[1])
        if start == stop:
            break
        out = g.model(
            inputs_embeds=embeds[:, start:stop],
            attention_mask=None if mask is None else mask[:, :stop],
            past_key_values=cache,
            use_cache=True,
        )
        cache, start = out.past_key_values, stop
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("size", [1, 7, 16])
def test_equal_chunks(one: Golden, size: int) -> None:
    embeds = one.io["inputs_embeds"]
    whole = one.model(inputs_embeds=embeds).logits
    torch.testing.assert_close(in_chunks(one, embeds, [size] * 40), whole, atol=ATOL, rtol=0)


@slow_is_fine
@given(data=st.data())
def test_any_chunking(one: Golden, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(1, 39), unique=True, max_size=8).map(sorted))
    sizes = [stop - start for start, stop in zip([0, *cuts], [*cuts, 40], strict=True)]
    embeds = one.io["inputs_embeds"]
    whole = one.model(inputs_embeds=embeds).logits
    torch.testing.assert_close(in_chunks(one, embeds, sizes), whole, atol=ATOL, rtol=0)


@slow_is_fine
@given(data=st.data())
def test_left_padding_under_any_chunking(one: Golden, data: st.DataObject) -> None:
    """Rows of different length, padded left, in chunks that may hold only padding for one of them."""
    embeds = one.io["inputs_embeds"][:, :24]
    lengths = data.draw(st.lists(st.integers(1, 24), min_size=2, max_size=3))
    size = data.draw(st.sampled_from([1, 5, 16, 24]))
    longest = max(lengths)
    batch, mask = (
        torch.zeros(len(lengths), longest, embeds.shape[2]),
        torch.zeros(len(lengths), longest, dtype=torch.long),
    )
    for row, length in enumerate(lengths):
        batch[row, longest - length :] = embeds[0, :length]
        mask[row, longest - length :] = 1
    logits = in_chunks(one, batch, [size] * longest, mask)
    for row, length in enumerate(lengths):
        alone = one.model(inputs_embeds=embeds[:, :length]).logits
        torch.testing.assert_close(logits[row : row + 1, longest - length :], alone, atol=ATOL, rtol=0)


LENGTHENED = {"1_8b-ntk-1.0": 24, "3_8b-sulong-1.0": 16}
"""Models whose rotation changes past this many tokens, inside the golden prompt of 40."""


@slow_is_fine
@given(data=st.data())
@pytest.mark.parametrize("name", LENGTHENED)
def test_past_the_trained_length_keys_keep_the_rotation_of_their_chunk(
    golden, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    """So does the reference when it decodes: chunks equal one forward whose tables are made chunk by chunk."""
    g = golden(name)
    embeds = g.io["inputs_embeds"]
    cuts = data.draw(st.lists(st.integers(1, 39), unique=True, max_size=6).map(sorted))
    bounds = list(zip([0, *cuts], [*cuts, 40], strict=True))
    chunked = in_chunks(g, embeds, [stop - start for start, stop in bounds])

    def by_chunk(config: PhantomTextConfig, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        parts = [
            [table[:, start:] for table in rotary_tables(config, position_ids[:, :stop])] for start, stop in bounds
        ]
        cos, sin = (torch.cat(tables, dim=1) for tables in zip(*parts, strict=True))
        return cos, sin

    with monkeypatch.context() as patch:
        patch.setattr(text_model, "rotary_tables", by_chunk)
        want = g.model(inputs_embeds=embeds).logits
    torch.testing.assert_close(chunked, want, atol=2 * ATOL, rtol=0)  # longrope's scale makes larger logits


@pytest.mark.parametrize("name", LENGTHENED)
def test_chunks_equal_one_forward_up_to_the_trained_length_only(golden, name: str) -> None:
    g = golden(name)
    embeds, trained = g.io["inputs_embeds"], LENGTHENED[name]
    for length in (trained, 40):
        whole = g.model(inputs_embeds=embeds[:, :length]).logits
        apart = (in_chunks(g, embeds[:, :length], [7] * 40) - whole).abs().max().item()
        assert apart < ATOL if length == trained else apart > 0.1


def test_one_token_prompt(one: Golden) -> None:
    """The reference raises, or uses the sentinel of an earlier prompt."""
    first = one.io["inputs_embeds"][:, :1]
    logits = one.model(inputs_embeds=first).logits
    whole = one.model(inputs_embeds=one.io["inputs_embeds"]).logits
    torch.testing.assert_close(logits, whole[:, :1], atol=ATOL, rtol=0)


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
def test_attention_implementations_agree(golden, kind: str) -> None:
    g = golden("0_5b-1.0")
    before = g.model.config._attn_implementation
    mask = g.io["batch.attention_mask"]
    embeds = g.io["batch.inputs_embeds"]
    g.model.set_attn_implementation(kind)
    try:
        ours = g.model(inputs_embeds=embeds, attention_mask=mask).logits
    finally:
        g.model.set_attn_implementation(before)
    torch.testing.assert_close(ours[mask.bool()], g.io["batch.prefill_logits"][mask.bool()], atol=2e-5, rtol=0)


def test_padding_stays_finite(golden) -> None:
    """A padded position attends to nothing; it must not become NaN and poison the others through 0 * NaN."""
    g = golden("0_5b-1.0")
    out = g.model(inputs_embeds=g.io["batch.inputs_embeds"], attention_mask=g.io["batch.attention_mask"])
    assert torch.isfinite(out.logits).all()


def test_without_state(golden) -> None:
    """Two prompts on one model do not know of each other."""
    g = golden("0_5b-1.0")
    alone = g.model(input_ids=g.io["text.input_ids"]).logits
    g.model(input_ids=g.io["alt.input_ids"])
    assert torch.equal(g.model(input_ids=g.io["text.input_ids"]).logits, alone)

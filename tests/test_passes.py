"""The passes are what they say: exact in float64, or of the error that they state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.errors import EdgeError
from phantom_edge.export.folded import FoldedLayer, Rows
from phantom_edge.export.passes.fold import fold_layers, fold_map
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.models.attention import HeadMap
from phantom_edge.models.config import PhantomTextConfig
from phantom_edge.models.rope import rotary_tables
from phantom_edge.models.text_model import PhantomTextModel

EXACT = 1e-11
"""Float64 sums in another order, after a few layers."""


def decoder(seed: int, heads: int, kv_heads: int, eta: float, layers: int = 3, dim: int = 8) -> PhantomTextModel:
    torch.manual_seed(seed)
    config = PhantomTextConfig(
        vocab_size=40,
        hidden_size=heads * dim,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=dim,
        eta=eta,
        sliding_window=None,
    )
    model = PhantomTextModel(config).double().eval()
    for weight in model.parameters():
        weight.normal_(std=1.0 if weight.ndim == 1 else 1.5 * weight.shape[-1] ** -0.5)
    return model


def run_folded(
    layers: list[FoldedLayer], model: PhantomTextModel, ids: torch.Tensor, chunks: list[int]
) -> torch.Tensor:
    """Hidden states after the last norm, the prompt fed in ``chunks``."""
    tables = [table.double() for table in constant_tables(model.config, ids.shape[1])]
    past: list[Rows | None] = [None] * len(layers)
    found, start = [], 0
    for size in chunks:
        places = torch.arange(start, start + size)
        mask = torch.zeros(size, start + size, dtype=torch.float64)
        mask[torch.arange(start + size)[None] > places[:, None]] = -torch.inf
        hidden = model.embed_tokens(ids[:, start : start + size])
        for number, layer in enumerate(layers):
            hidden, new = layer(hidden, (tables[0][places], tables[1][places]), mask, past[number])
            before = past[number]
            past[number] = (
                new
                if before is None
                else Rows(torch.cat([before.key, new.key], 2), torch.cat([before.value, new.value], 2))
            )
        found.append(model.norm(hidden))
        start += size
    return torch.cat(found, dim=1)


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 4]), st.sampled_from([1e-4, 0.1, 1.0]))
@settings(max_examples=30, deadline=None)
def test_a_folded_map_equals_the_map(seed: int, heads: int, eta: float) -> None:
    torch.manual_seed(seed)
    head_map, rows = HeadMap(8, eta).double(), torch.randn(heads, 8, dtype=torch.float64)
    x = torch.randn(1, 3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(fold_map(head_map, rows)(x), head_map(x, rows[None]), atol=1e-14, rtol=1e-12)


@given(
    st.integers(0, 2**31),
    st.sampled_from([(1, 1), (4, 2), (4, 1), (6, 2), (3, 3)]),
    st.sampled_from([1e-4, 1.0]),
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
)
@settings(max_examples=30, deadline=None)
def test_folded_layers_equal_the_decoder(seed: int, heads: tuple[int, int], eta: float, chunks: list[int]) -> None:
    """Whole, in chunks, token by token: hidden states at every position."""
    model = decoder(seed, *heads, eta)
    ids = torch.randint(0, 40, (1, sum(chunks)))
    folded = [
        FoldedLayer(layer, maps)
        for layer, maps in fold_layers(model.config, model.layers, model.embed_tokens.weight[ids[0, 0]])
    ]
    want = model(input_ids=ids).last_hidden_state
    got = run_folded(folded, model, ids, chunks)
    torch.testing.assert_close(got, want, atol=EXACT * float(want.abs().max()), rtol=1e-9)


def test_constant_tables_are_the_models() -> None:
    config = decoder(0, 2, 2, 1.0, layers=1).config
    cosines, sines = constant_tables(config, 50)
    for position in (0, 7, 49):
        cos, sin = rotary_tables(config, torch.tensor([[position]]))
        assert torch.equal(cos[0, 0, :4], cosines[position]) and torch.equal(sin[0, 0, 4:], sines[position])


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_tables_that_depend_on_the_length_are_refused(kind: str) -> None:
    config = decoder(0, 2, 2, 1.0, layers=1).config
    config.max_position_embeddings = 32
    more = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 32}
    config.rope_parameters = {
        "rope_type": kind,
        "rope_theta": 1e4,
        "factor": 2.0,
        **(more if kind == "longrope" else {}),
    }
    constant_tables(config, 32)
    with pytest.raises(EdgeError, match="past 32 tokens") as refused:
        constant_tables(config, 33)
    assert "--max-context 32" in refused.value.remedy

"""The passes are what they say: exact in float64, or of the error that they state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_edge.export.passes.fold import FoldedMap, FoldedMaps, fold_layers, fold_map
from phantom_edge.export.passes.folded import FoldedLayer, Rows
from phantom_edge.export.passes.rank import Bases, bases_of, errors_of, longest, whole
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.foundation.errors import EdgeError
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


def folded_map(seed: int, heads: int, dim: int, eta: float = 1.0) -> FoldedMap:
    torch.manual_seed(seed)
    return fold_map(HeadMap(dim, eta).double(), 2 * torch.randn(heads, dim, dtype=torch.float64))


@given(st.integers(0, 2**31), st.sampled_from([1, 2]), st.sampled_from([0, 2, 4, 8]))
@settings(max_examples=30, deadline=None)
def test_a_basis_leaves_no_more_out_than_it_says(seed: int, heads: int, rank: int) -> None:
    """On a curve the bound is proved: points between those of the grid keep it, too."""
    folded = folded_map(seed, heads, 16)
    (basis,) = bases_of(folded, [rank])
    share = torch.rand(3000, 1, dtype=torch.float64)
    points = torch.cat([share, 1 - share], dim=1)[:, :heads].clamp(min=1.0 if heads == 1 else 0.0)
    directions = torch.nn.functional.gelu(points @ folded.values)
    rest = directions - basis.mean - basis.coordinates(directions) @ basis.vectors.T
    assert basis.is_proved and rest.norm(dim=1).max() <= basis.left_out + 1e-12
    assert directions.norm(dim=1).max() <= longest(folded) + 1e-12


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 4, 8]))
@settings(max_examples=15, deadline=None)
def test_more_rank_leaves_less_out_and_all_of_it_nothing(seed: int, heads: int) -> None:
    found = bases_of(folded_map(seed, heads, 16), [0, 2, 4, 8, 16])
    left_out = [basis.left_out for basis in found]
    assert left_out == sorted(left_out, reverse=True)
    assert left_out[-1] < 1e-6 and all(basis.is_proved == (heads <= 2) for basis in found)


@given(st.integers(0, 2**31), st.sampled_from([(4, 2), (2, 1)]), st.sampled_from([0, 1, 2, 4, 8]))
@settings(max_examples=20, deadline=None)
def test_a_layer_changes_no_more_than_its_bounds_say(seed: int, heads: tuple[int, int], rank: int) -> None:
    """Logits and values of a layer at some rank, against the whole ones."""
    model = decoder(seed, *heads, 1.0, layers=1)
    layer, maps = next(fold_layers(model.config, model.layers, model.embed_tokens.weight[0]))
    bases = Bases(bases_of(maps.key, [rank])[0], bases_of(maps.value, [rank])[0])
    exact, less = FoldedLayer(layer, maps).attention, FoldedLayer(layer, maps, bases).attention
    hidden = torch.randn(1, 20, model.config.hidden_size, dtype=torch.float64)
    rope = tuple(table.double() for table in constant_tables(model.config, 20))
    (query, rows), (query_less, rows_less) = exact.rows(hidden, rope), less.rows(hidden, rope)
    logits = exact._grouped(query) @ rows.key[:, :, None].transpose(-1, -2)
    changed = less._grouped(query_less) @ rows_less.key[:, :, None].transpose(-1, -2) - logits
    shift = changed.mean(-1, keepdim=True)  # the mean that was taken off all keys shifts all logits of a query alike
    bounds = errors_of(maps, bases, model.layers[0].self_attn.scaling, value_norm=1.0)
    assert (changed - shift).abs().max() <= 2 * bounds.logit + 1e-9
    dim = model.config.head_dim
    restored = rows_less.value[..., dim:] @ bases.value.vectors.T + bases.value.mean
    assert (restored - rows.value[..., dim:]).norm(dim=-1).max() <= bounds.value + 1e-9


def test_the_whole_basis_is_exact() -> None:
    maps = FoldedMaps(*(folded_map(seed, 2, 8) for seed in range(3)))
    bounds = errors_of(maps, Bases(whole(maps.key), whole(maps.value)), 1.0, 1.0)
    assert bounds.logit == bounds.value == 0

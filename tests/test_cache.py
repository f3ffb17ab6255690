"""The cache's sentinel goes wherever its keys and values go."""

from collections.abc import Callable

import pytest
import torch
from golden_checkpoints import Golden
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import Cache, DynamicCache, StaticCache

from phantom_edge.models.cache import PhantomLayer, PhantomStaticLayer, Sentinel

KINDS = ("dynamic", "static")
LAYERS = {"dynamic": PhantomLayer, "static": PhantomStaticLayer}


def new_cache(g: Golden, kind: str) -> Cache:
    if kind == "static":
        return StaticCache(config=g.model.config, max_cache_len=40)
    return DynamicCache(config=g.model.config)


@pytest.fixture
def g(golden) -> Golden:
    return golden("0_5b-1.0")


def two_prompts(g: Golden) -> Tensor:
    """(2, N): two rows whose first tokens, and so whose sentinels, differ."""
    both = torch.cat([g.io["text.input_ids"], g.io["alt.input_ids"]])
    assert both[0, 0] != both[1, 0]
    return both


def filled(g: Golden, ids: Tensor, kind: str) -> Cache:
    cache = new_cache(g, kind)
    g.model(input_ids=ids, past_key_values=cache, use_cache=True)
    assert all(isinstance(layer, LAYERS[kind]) for layer in cache.layers)
    return cache


def next_logits(g: Golden, cache: Cache, tokens: list[int]) -> Tensor:
    return g.model(input_ids=torch.tensor(tokens)[:, None], past_key_values=cache, use_cache=True).logits


def assert_sentinels_equal(ours: Cache, theirs: Cache) -> None:
    for one, two in zip(ours.layers, theirs.layers, strict=True):
        for mine, other in zip(one.sentinel, two.sentinel, strict=True):
            torch.testing.assert_close(mine, other)


Change = Callable[[Cache], None]


@pytest.mark.parametrize(
    ("kind", "change", "rows"),
    [
        *((kind, lambda cache: cache.reorder_cache(torch.tensor([1, 0])), [1, 0]) for kind in KINDS),
        *((kind, lambda cache: cache.reorder_cache(torch.tensor([1, 1, 0])), [1, 1, 0]) for kind in KINDS),
        ("dynamic", lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1]),
        ("dynamic", lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
        ("dynamic", lambda cache: cache.batch_select_indices(torch.tensor([1, 0])), [1, 0]),
    ],
)
def test_rows_move_together(g: Golden, kind: str, change: Change, rows: list[int]) -> None:
    """A cache whose rows were moved equals one that was filled with the moved rows."""
    ids = two_prompts(g)
    cache, wanted = filled(g, ids, kind), filled(g, ids[rows], kind)
    change(cache)
    assert_sentinels_equal(cache, wanted)
    tokens = list(range(5, 5 + len(rows)))
    torch.testing.assert_close(next_logits(g, cache, tokens), next_logits(g, wanted, tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_cache_is_a_new_one(g: Golden, kind: str) -> None:
    ids = two_prompts(g)
    cache = filled(g, ids[1:], kind)
    cache.reset()
    out = g.model(input_ids=ids[:1], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(out.logits, g.io["text.prefill_logits"], atol=2e-5, rtol=0)
    assert cache.get_seq_length() == ids.shape[1]


def test_a_cache_cropped_to_nothing_forgets_its_sentinel(g: Golden) -> None:
    ids = two_prompts(g)
    cache = filled(g, ids[1:], "dynamic")
    cache.crop(-ids.shape[1])
    out = g.model(input_ids=ids[:1], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(out.logits, g.io["text.prefill_logits"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("kept", [1, 9])
def test_a_cropped_cache_goes_on_with_its_sentinel(g: Golden, kept: int) -> None:
    """The tokens that were cut off, fed again, say what they said in one pass."""
    ids = two_prompts(g)[:1]
    cache = filled(g, ids, "dynamic")
    cache.crop(kept - ids.shape[1])
    assert cache.get_seq_length() == kept
    assert_sentinels_equal(cache, filled(g, ids, "dynamic"))
    out = g.model(input_ids=ids[:, kept:], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(out.logits, g.io["text.prefill_logits"][:, kept:], atol=2e-5, rtol=0)


def devices(layer: PhantomLayer | PhantomStaticLayer) -> list[str]:
    assert layer.sentinel is not None
    return [tensor.device.type for tensor in (layer.keys, layer.values, *layer.sentinel)]


@pytest.mark.parametrize("kind", KINDS)
def test_offloading_takes_the_sentinel_along(kind: str) -> None:
    """Fake tensors: they carry shapes and devices, so that a machine without an accelerator can check the moves."""
    with FakeTensorMode():
        layer = PhantomLayer() if kind == "dynamic" else PhantomStaticLayer(max_cache_len=16)
        keys, values = torch.empty(2, 3, 16, 8, device="cuda"), torch.empty(2, 3, 16, 8, device="cuda")
        layer.device, layer.keys, layer.values = keys.device, keys, values
        layer.is_initialized = True
        layer.sentinel = Sentinel(*(torch.empty(2, heads, 4, device="cuda") for heads in (6, 3, 3)))
        layer.offload()
        assert devices(layer) == ["cpu"] * 5
        layer.prefetch()
        assert devices(layer) == ["cuda"] * 5
        assert [tuple(rows.shape) for rows in layer.sentinel] == [(2, 6, 4), (2, 3, 4), (2, 3, 4)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_cache_can_be_moved(g: Golden, kind: str) -> None:
    """transformers does all this to caches that no model has filled."""
    cache = new_cache(g, kind)
    for layer in cache.layers:
        layer.offload()
        layer.prefetch()
        layer.reset()
    cache.reorder_cache(torch.tensor([1, 0]))
    assert all(layer.sentinel is None for layer in cache.layers)
    ids = two_prompts(g)[:1]
    out = g.model(input_ids=ids, past_key_values=cache, use_cache=True)
    torch.testing.assert_close(out.logits, g.io["text.prefill_logits"], atol=2e-5, rtol=0)

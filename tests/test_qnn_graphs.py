"""Target qnn: its graphs compute the model in float, and the levels that fixed point takes are the right ones."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from golden_checkpoints import ARCHITECTURES, Golden
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from qualcomm_bundles import CHUNK, CONTEXT

from phantom_edge.bundle.fixed_shapes import FixedShapes
from phantom_edge.export.passes.fold import fold_layers
from phantom_edge.export.passes.layer_form import LayerForm
from phantom_edge.export.passes.rank import Bases, bases_of, whole
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.targets.onnx.lower import port_of
from phantom_edge.export.targets.qnn.calibration import Watched, _balanced
from phantom_edge.export.targets.qnn.decoder import Balance, DecoderDrawing, HeadDrawing
from phantom_edge.export.targets.qnn.fixed_point import Range
from phantom_edge.export.targets.qnn.host import HeadLayout
from phantom_edge.export.targets.qnn.vision import VisionDrawing
from phantom_edge.runtime.steps import Steps

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxruntime_qnn")

BOUND = 1e-4
GOLDEN = [*(f"{name}-1.0" for name in ARCHITECTURES), "0_5b-tied-1.0", "3_8b-sw16-1.0"]
Floats = NDArray[np.float32]


def forms_of(g: Golden, rank: int | None = None) -> list[LayerForm]:
    text, language = g.model.config.text, g.model.model.language_model
    first = language.embed_tokens.weight[g.io["input_ids"][0, 0]]
    found = []
    for _, maps in fold_layers(text, language.layers, first):
        ranked = (whole(m) if rank is None else bases_of(m, [rank])[0] for m in (maps.key, maps.value))
        found.append(LayerForm(maps, Bases(*ranked)))
    return found


def in_float(g: Golden, folder: Path, balance: Balance, rank: int | None = None) -> Steps:
    """The loop over the golden model's graphs, as calibration runs them."""
    text, read = g.model.config.text, g.model.state_dict().__getitem__
    forms, found = forms_of(g, rank), {}  # type: ignore[var-annotated]
    drawn = {
        name: DecoderDrawing(
            text,
            forms,
            read,
            None,
            None,
            [balance] * len(forms),
            tokens=tokens,
            context=CONTEXT,
            has_head=name == "decoder",
        )
        for name, tokens in (("prefill", CHUNK), ("decoder", 1))
    }
    functions = {}
    for name, drawing in (*drawn.items(), ("head", HeadDrawing(text, read, None, None))):
        (folder / name).mkdir(exist_ok=True)
        functions[name] = Watched(drawing, folder / name, found)
    tables = np.stack([table.numpy() for table in constant_tables(text, CONTEXT)])
    fixed = FixedShapes("", -1e4, text.sliding_window)
    ports = [port_of(one) for one in drawn["decoder"].inputs]
    return Steps(functions, ports, HeadLayout(drawn["decoder"].groups), fixed, CHUNK, tables)


def prompt_of(g: Golden, tokens: int) -> tuple[Floats, Floats]:
    """Embeddings of the golden prompt's first token and any others, and what the model makes of them."""
    torch.manual_seed(1)
    ids = torch.randint(6, g.model.config.text.vocab_size, (1, tokens))
    ids[ids == g.model.config.image_token_id] = 0
    ids[0, 0] = g.io["input_ids"][0, 0]
    return g.model.get_input_embeddings()(ids)[0].numpy(), g.model(input_ids=ids).logits[0].numpy()


def read_through(loop: Steps, embeds: Floats, sizes: Sequence[int], vocabulary: int) -> Floats:
    found, start = [], 0
    for size in sizes:
        found.append(loop.forward(embeds[start : start + size], start, np.arange(size), vocabulary))
        start += size
    return np.concatenate(found)


@pytest.mark.parametrize("name", GOLDEN)
def test_decoder_computes_the_model(name: str, golden: Any, tmp_path: Path) -> None:
    """In float, at eta 1, in full chunks and odd ones and token by token, to the cache's last slot; balanced or not."""
    g: Golden = golden(name)
    embeds, want = prompt_of(g, CONTEXT)
    for balance, sizes in ((Balance(), [40, 7, 1, 48]), (Balance(3.0, 0.25), [1, CONTEXT - 1])):
        loop = in_float(g, tmp_path, balance)
        got = read_through(loop, embeds, sizes, g.model.config.text.vocab_size)
        assert np.abs(got - want).max() <= BOUND, (balance, sizes)


def test_less_rank_is_less_exact(golden: Any, tmp_path: Path) -> None:
    """The graphs say of the phantom dimension what they are given, no more."""
    g: Golden = golden("0_5b-1.0")
    embeds, want = prompt_of(g, 20)
    errors = [
        np.abs(read_through(in_float(g, tmp_path, Balance(), rank), embeds, [20], want.shape[-1]) - want).max()
        for rank in (0, 4, None)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] <= BOUND and errors[0] > 1e-3


@pytest.mark.parametrize("name", GOLDEN[:2])
def test_vision_computes_the_model(name: str, golden: Any, tmp_path: Path) -> None:
    """Whole, and in two pieces."""
    g: Golden = golden(name)
    config, read, pixels = g.model.config, g.model.state_dict().__getitem__, g.io["pixel_values"][:1]
    want = g.model.get_image_features(pixels).pooler_output.flatten(0, 1).numpy()
    layers = config.vision.num_hidden_layers
    for cuts in ([0, layers], [0, 1, layers]):
        state = {"pixel_values": pixels.numpy()}
        for start, end in pairwise(cuts):
            state = Watched(VisionDrawing(config, read, None, None, range(start, end)), tmp_path, {}).run(state)
        assert np.abs(state["image_tokens"] - want).max() <= BOUND, cuts


@given(st.floats(-1e4, 0), st.floats(1e-3, 1e4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_levels(low: float, high: float, seed: int) -> None:
    """Zero is a level, so ends are off by one at most, all else by half; and an even range has zero in the middle."""
    about = Range(low, high)
    numbers = torch.empty(64).uniform_(low, high, generator=torch.Generator().manual_seed(seed)).double()
    integers = (numbers / about.scale).round() + about.zero_point
    assert 0 <= about.zero_point <= 65535
    off = (((integers.clamp(0, 65535) - about.zero_point) * about.scale) - numbers).abs()
    inside = (integers > 0) & (integers < 65535)
    assert off.max() <= about.scale * 1.01 and (off[inside] <= about.scale * 0.501).all()
    even = about.even()
    assert even.zero_point == 32768 and even.size >= about.size


@given(st.lists(st.floats(1e-6, 1e6), min_size=6, max_size=6))
@settings(max_examples=60, deadline=None)
def test_balance_leaves_neither_half_without_levels(sizes: list[float]) -> None:
    """Plain and phantom halves: beside queries and keys the same share of a range, beside values all of it."""
    names = {what: (f"{what}.plain", f"{what}.phantom") for what in ("query", "key", "value")}
    found = {
        name: Range(0.0, size)
        for name, size in zip((name for pair in names.values() for name in pair), sizes, strict=True)
    }

    halves = {(0, what): pair for what, pair in names.items()}
    drawing: Any = SimpleNamespace(halves=halves, config=SimpleNamespace(num_hidden_layers=1))
    (balance,) = _balanced(found, drawing)
    share = {what: found[phantom].size / found[plain].size for what, (plain, phantom) in names.items()}
    assert share["query"] * balance.key == pytest.approx(share["key"] / balance.key)
    assert share["value"] * balance.value == pytest.approx(1.0)

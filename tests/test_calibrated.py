"""Algorithms that look at data: what they keep exactly, what they make better, and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_checkpoints import write_checkpoint, write_questions
from safetensors.torch import load_file
from torch import Tensor

from phantom_edge.checkpoint.quantized.algorithm_names import ALGORITHM_NAMES
from phantom_edge.checkpoint.quantized.files import read_quantization
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.checkpoint.source import Source
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.rope import rotary_tables
from phantom_edge.quantize import layers
from phantom_edge.quantize.algorithms import ALGORITHMS
from phantom_edge.quantize.calibration import KINDS, Calibration, Sample, read_samples, sensitivities
from phantom_edge.quantize.layers import BLOCKS, MATRICES, Weigher, even, quantize_layers
from phantom_edge.quantize.quantize import quantize_checkpoint, quantized_beside
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.quantize.rounding import nearest
from phantom_edge.quantize.solvers import fitted, gptq, hqq
from phantom_edge.reference import through


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint at full phantom strength, and questions about two pictures."""
    desk = tmp_path_factory.mktemp("calibrated")
    write_checkpoint(desk / "checkpoint")
    write_questions(desk)
    return desk


@pytest.fixture(scope="module")
def source(desk: Path) -> Source:
    return Source.open(desk / "checkpoint")


@pytest.fixture(scope="module")
def samples(desk: Path, source: Source) -> list[Sample]:
    return read_samples(desk / "triples.jsonl", source, 4, with_pictures=True)


def correlated(rows: int, columns: int, seed: int) -> Tensor:
    """Inputs (rows, columns) that say the same many times over, a few of them large."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, columns // 4, generator=random) @ torch.randn(columns // 4, columns, generator=random)
    return mixed * torch.rand(columns, generator=random).mul(6).sub(3).exp2()


@given(st.sampled_from([s for s in SCHEMES.values() if s.bits < 8]), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_fitting_and_gptq_leave_less_of_an_output(scheme: Scheme, seed: int) -> None:
    columns = 2 * (scheme.group or 64)
    weight = torch.randn(24, columns, generator=torch.Generator().manual_seed(seed))
    inputs = correlated(300, columns, seed)
    gram = inputs.T @ inputs

    def lost(held: Quantized) -> float:
        return float(((held.dequantize() - weight) @ inputs.T).square().sum())

    def importance(held: Quantized) -> float:
        return float(((held.dequantize() - weight).square() * gram.diagonal()).sum())

    rtn, fit, better = nearest(weight, scheme), fitted(weight, scheme, gram), gptq(weight, scheme, gram)
    assert importance(fit) <= importance(rtn) * (1 + 1e-6)  # the covering scale is among those that are tried
    assert lost(better) < 0.7 * lost(rtn)


@given(st.sampled_from([s for s in SCHEMES.values() if not s.symmetric]), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_hqq_ends_in_plain_integers(scheme: Scheme, seed: int) -> None:
    weight = torch.randn(8, 2 * (scheme.group or 64), generator=torch.Generator().manual_seed(seed))
    held = hqq(weight, scheme, None)
    assert held.zero_points is not None and held.zero_points.dtype == torch.uint8
    assert float((held.dequantize() - weight).square().sum()) < 1.3 * float(
        (nearest(weight, scheme).dequantize() - weight).square().sum()
    )


def test_scaling_changes_nothing_but_where_rounding_falls(source: Source, samples: list[Sample]) -> None:
    """``W diag(s)`` behind ``x / s``: the layer computes the same, for every block that is scaled."""
    layer = next(source.layers("sdpa"))
    random = torch.Generator().manual_seed(0)
    states = [torch.randn(1, len(sample.ids), source.config.text.hidden_size, generator=random) for sample in samples]
    places: list[Any] = [
        (rotary_tables(source.config.text, torch.arange(state.shape[1])[None]), None) for state in states
    ]
    want = through(layer, states, places)
    inputs = layers._Inputs(layer, states, places)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    schemes = dict.fromkeys(MATRICES, SCHEMES["int3-g32"])
    for block in BLOCKS:
        changed = layers._scaled(layer, block, schemes, inputs, [even(0, "", s.kinds) for s in samples], torch.square)
        assert set(changed) == {f"{block.before}.weight"}
        assert not torch.equal(before[f"{block.before}.weight"], layer.state_dict()[f"{block.before}.weight"])
    for found, exact in zip(through(layer, states, places), want, strict=True):
        assert float((found - exact).abs().max()) < 2e-5 * float(exact.abs().max())


def errors_by_kind(source: Source, samples: list[Sample], weigher: Weigher | None, scheme: Scheme) -> Tensor:
    """Mean error of the last layer's output by kind of token, weights rounded to nearest."""
    names = [f"model.language_model.layers.{n}.{m}.weight" for n in range(2) for m in MATRICES]
    found = quantize_layers(
        source, dict.fromkeys(names, scheme), lambda w, s, _: nearest(w, s), samples, weigher=weigher
    )
    states, exact = (
        [torch.randn(1, len(s.ids), 128, generator=torch.Generator().manual_seed(1)) for s in samples] for _ in "ab"
    )
    places: list[Any] = [(rotary_tables(source.config.text, torch.arange(len(s.ids))[None]), None) for s in samples]
    for number, (layer, done) in enumerate(zip(source.layers("sdpa"), found, strict=True)):
        exact = through(layer, exact, places)
        layers._load(layer, f"model.language_model.layers.{number}.", done)
        states = through(layer, states, places)
    off = torch.cat([(a - b)[0].abs().mean(-1) for a, b in zip(states, exact, strict=True)])
    kinds = torch.cat([sample.kinds for sample in samples])
    return torch.stack([off[kinds == kind].mean() for kind in range(len(KINDS))])


def test_every_layer_is_quantized_and_close(source: Source, samples: list[Sample]) -> None:
    fine = errors_by_kind(source, samples, Weigher(torch.square, even), SCHEMES["int8-g32"])
    coarse = errors_by_kind(source, samples, Weigher(torch.square, even), SCHEMES["int3-g32"])
    assert bool((fine < 0.05 * coarse).all()) and bool((fine > 0).all())


def test_sensitivities(desk: Path, samples: list[Sample]) -> None:
    """Of the last layer's output the loss feels only what is read as an answer, or just before."""
    steps: list[int] = []
    felt = sensitivities(desk / "checkpoint", samples, steps.append)
    assert sum(steps) == len(samples) and set(felt) == {"self_attn", "mlp"}
    vision, answer, prompt = (KINDS.index(kind) for kind in ("vision", "answer", "prompt"))
    for table in felt.values():
        assert table.shape == (2, 3) and float(table[-1, vision]) == 0
        assert float(table[0, vision]) > 0 and float(table[0, answer]) > 0 and float(table[-1, prompt]) > 0


RECIPE: dict[str, Any] = {"decoder": "int4-g32", "embedding": "int8", "head": "int8"}


def made(desk: Path, out: Path, algorithm: Any) -> Path:
    calibration = Calibration(desk / "triples.jsonl", 4)
    quantize_checkpoint(desk / "checkpoint", Recipe(RECIPE, algorithm), out, name="one", calibration=calibration)
    return out


@pytest.mark.parametrize("algorithm", ["gptq", "awq", "mbq"])
def test_interrupted_it_goes_on_with_the_layers_that_are_missing(
    algorithm: str, desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result is the same to the last bit, and the first layer is not solved again."""
    whole = made(desk, tmp_path / "whole", algorithm)
    solved: list[str] = []
    observed = layers._observed

    def stop_at(limit: int) -> Callable[..., Any]:
        def watch(*given: Any) -> Any:
            solved.append("layer")
            if len(solved) > limit:
                raise KeyboardInterrupt
            return observed(*given)

        return watch

    monkeypatch.setattr(layers, "_observed", stop_at(1))
    with pytest.raises(KeyboardInterrupt):
        made(desk, tmp_path / "halves", algorithm)
    assert not (tmp_path / "halves").exists()
    solved.clear()
    monkeypatch.setattr(layers, "_observed", stop_at(9))
    halves = made(desk, tmp_path / "halves", algorithm)
    assert len(solved) == 1
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, halves))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_cannot_be_calibrated_on(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, algorithm: Any, data: Path | None, checkpoint: Path = desk / "checkpoint") -> None:
        with pytest.raises(EdgeError, match=match):
            quantize_checkpoint(
                checkpoint,
                Recipe(RECIPE, algorithm),
                tmp_path / "out",
                name="one",
                calibration=None if data is None else Calibration(data, 4),
            )
        assert not (tmp_path / "out").exists()

    refused("needs data to calibrate on", "awq", None)
    refused("there is no file", "awq", tmp_path / "none.jsonl")
    refused("has no pictures", "mbq", desk / "words.jsonl")
    refused("hqq moves zero points", "hqq", None)
    with pytest.raises(EdgeError, match="--samples is 0"):
        Calibration(desk / "triples.jsonl", 0)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "broken.jsonl").write_text(json.dumps({"image": "broken.png", "question": "?", "chosen": "a"}))
    refused("broken.png", "awq", tmp_path / "broken.jsonl")
    monkeypatch.setattr(layers, "embedded", lambda *_: [torch.full((9, 128), torch.inf) for _ in range(4)])
    refused("layer 0 reads NaN or infinity", "gptq", desk / "triples.jsonl")


def test_other_data_are_another_checkpoint(desk: Path, tmp_path: Path) -> None:
    """What was quantized beside a bundle is taken again for the same data, and made anew for others."""
    recipe, made_from = Recipe(RECIPE, "gptq"), []
    for samples, force in ((4, False), (4, False), (2, True)):
        with quantized_beside(
            desk / "checkpoint",
            recipe,
            tmp_path / "bundle",
            name="one",
            model="one",
            calibration=Calibration(desk / "triples.jsonl", samples),
            keep=True,
            force=force,
        ) as place:
            stamp = (place / "model.safetensors").stat().st_mtime_ns
            made_from.append((stamp, read_quantization(place).calibration))
    assert made_from[0] == made_from[1] != made_from[2]


def test_every_name_is_an_algorithm() -> None:
    assert tuple(ALGORITHMS) == ALGORITHM_NAMES

"""Palettes: k-means finds what it should, weights mean what is said of them, and come back from disk as they went."""

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from export_settings import settings_for
from hypothesis import given, settings
from hypothesis import strategies as st
from random_checkpoints import write_checkpoint, write_questions
from safetensors.torch import load_file, save_file
from torch import Tensor

from phantom_edge.checkpoint.quantized.files import (
    QUANTIZATION,
    Quantization,
    QuantizedFiles,
    planned,
    write_quantization,
)
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, stacked
from phantom_edge.checkpoint.source import Source
from phantom_edge.checkpoint.writing import write_shards
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import load
from phantom_edge.models.shipped import NANO
from phantom_edge.models.tensor_names import EMBEDDING, part_of
from phantom_edge.quantize import palettes as palettes_module
from phantom_edge.quantize.calibration import Calibration
from phantom_edge.quantize.damage import units_of
from phantom_edge.quantize.palettes import entries, fitted_palettes, with_palettes
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import SHIPPED, Recipe, read_recipe
from phantom_edge.quantize.rounding import nearest
from phantom_edge.quantize.solvers import gptq

LUT = SCHEMES["lut4-r16"]
PALETTES = st.builds(
    lambda bits, rows: Scheme(bits, None, palette_rows=rows),
    st.sampled_from([2, 3, 4, 6]),
    st.sampled_from([1, 2, 8, 16, 32]),
)
EVEN = st.integers(1, 40).map(lambda half: 2 * half)
ROUNDED = 2.0**-11
"""What a float16 number is off at most, beside its size."""


def plain(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def outliers(rows: int, columns: int, seed: int) -> Tensor:
    """One in a hundred is far out."""
    far = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed + 1)) < 0.01
    return plain(rows, columns, seed) * torch.where(far, 30.0, 1.0)


def repeated(rows: int, columns: int, seed: int) -> Tensor:
    """Few different numbers, a row of zeros first."""
    found = plain(rows, columns, seed).round()
    found[0] = 0
    return found


KINDS: dict[str, Callable[[int, int, int], Tensor]] = {"plain": plain, "outliers": outliers, "repeated": repeated}


def lost(held: Quantized, weight: Tensor) -> float:
    return float((held.dequantize().double() - weight.double()).square().sum())


@given(PALETTES, st.integers(1, 70), EVEN, st.sampled_from(list(KINDS)), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_number_is_the_nearest_of_its_palette(
    scheme: Scheme, rows: int, columns: int, kind: str, seed: int
) -> None:
    weight = KINDS[kind](rows, columns, seed)
    held, size = nearest(weight, scheme), scheme.palette_rows
    assert held.palettes is not None and size is not None
    assert held.palettes.dtype == torch.float16 and held.palettes.shape == (-(-rows // size), scheme.levels)
    assert held.integers.dtype == torch.uint8 and int(held.integers.max()) < scheme.levels
    assert held.scales.shape == (rows, 0) and held.zero_points is None
    assert bool((held.palettes.diff(dim=1) >= 0).all())
    dense, found = held.palettes.float(), held.dequantize()
    for row in range(rows):
        of_row = dense[row // size]
        assert torch.equal(found[row], of_row[held.integers[row].long()])
        nearest_ = (weight[row, :, None] - of_row).abs().amin(-1)
        assert torch.allclose((weight[row] - found[row]).abs(), nearest_, rtol=1e-5, atol=1e-7)


def even(weight: Tensor, scheme: Scheme) -> Tensor:
    """Rounded to as many numbers as there are in a palette, from the least to the largest of its rows."""
    assert scheme.palette_rows is not None
    found = []
    for rows in torch.split(weight, scheme.palette_rows):
        low, high = rows.min(), rows.max()
        step = ((high - low) / (scheme.levels - 1)).clamp(min=1e-9)
        found.append(((rows - low) / step).round() * step + low)
    return torch.cat(found)


@given(PALETTES, st.integers(1, 40), EVEN, st.sampled_from(list(KINDS)), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_it_is_no_worse_than_an_even_grid(scheme: Scheme, rows: int, columns: int, kind: str, seed: int) -> None:
    """The grid that covers the same rows; palettes are rounded to float16, so they may be off by that."""
    weight = KINDS[kind](rows, columns, seed)
    off = float((even(weight, scheme) - weight).double().square().sum())
    slack = float((weight.double() * ROUNDED).square().sum())
    found = lost(nearest(weight, scheme), weight)
    assert found**0.5 <= off**0.5 + slack**0.5 + 1e-6


@pytest.mark.parametrize("kind", ["plain", "outliers"])
@pytest.mark.parametrize("columns", [64, 896, 4864])
def test_it_is_much_better_than_integers_with_one_scale(kind: str, columns: int) -> None:
    """Of 16 rows at once, as a palette is."""
    weight = KINDS[kind](64, columns, 0)
    groups = weight.view(4, -1)  # every 16 rows in one
    extreme = torch.where(groups.amax(-1) > -groups.amin(-1), groups.amax(-1), groups.amin(-1))
    scales = (extreme / -8)[:, None]
    rounded = (groups / scales).round().clamp(-8, 7) * scales
    off = float((rounded - groups).double().square().sum())
    assert lost(nearest(weight, LUT), weight) < (0.8 if kind == "plain" else 0.3) * off


@given(st.integers(4, 9), st.booleans(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_of_few_numbers_it_is_the_best_there_is(count: int, weighed: bool, seed: int) -> None:
    """Beside every way to cut them into runs."""
    scheme, columns = Scheme(2, None, palette_rows=1), 2 * count
    weight = plain(1, columns, seed)
    importance = plain(1, columns, seed + 1)[0].square() if weighed else None
    masses = torch.ones(columns) if importance is None else importance
    order = weight[0].argsort()
    numbers, shares = weight[0][order].double(), masses[order].double()

    def off(cuts: tuple[int, ...]) -> float:
        total = 0.0
        for start, end in itertools.pairwise((0, *cuts, columns)):
            run, share = numbers[start:end], shares[start:end]
            total += float((share * (run - (share * run).sum() / share.sum()).square()).sum())
        return total

    best = min(off(cuts) for cuts in itertools.combinations(range(1, columns), scheme.levels - 1))
    held = with_palettes(weight, scheme, importance)
    found = float(((held.dequantize() - weight).double().square() * masses).sum())
    slack = float(((weight.double() * ROUNDED).square() * masses).sum())
    assert best**0.5 - 1e-6 <= found**0.5 <= best**0.5 + slack**0.5 + 1e-6


def test_of_many_numbers_it_is_close_to_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside one that chose among far more borders; of normal numbers Max's quantizer (1960) leaves 0.009497."""
    weight = plain(64, 896, 0)
    found = lost(nearest(weight, LUT), weight)
    assert found / float(weight.square().sum()) < 1.01 * 0.009497
    monkeypatch.setattr(palettes_module, "RANKS", 1500)
    assert found < 1.01 * lost(nearest(weight, LUT), weight)


@given(PALETTES, st.integers(1, 70), EVEN, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_it_is_the_same_again_and_in_any_blocks(scheme: Scheme, rows: int, columns: int, seed: int) -> None:
    weight = outliers(rows, columns, seed)
    importance = plain(1, columns, seed)[0].square()
    once = with_palettes(weight, scheme, importance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(palettes_module, "AT_ONCE", 100)
        patch.setattr(palettes_module, "BATCH", 1)
        again = with_palettes(weight.clone(), scheme, importance)
    assert same(once, again)


def same(one: Quantized, other: Quantized) -> bool:
    assert one.palettes is not None and other.palettes is not None
    return (
        one.scheme == other.scheme
        and torch.equal(one.integers, other.integers)
        and torch.equal(one.palettes, other.palettes)
        and one.scales.shape == other.scales.shape
    )


def test_inputs_that_are_never_anything_but_zero() -> None:
    """All of them, or all but one: the rest still gets its nearest numbers."""
    weight = plain(16, 64, 0)
    assert same(with_palettes(weight, LUT, torch.zeros(64)), with_palettes(weight, LUT, None))
    one = torch.zeros(64)
    one[3] = 5
    held = with_palettes(weight, LUT, one)
    off = (held.dequantize() - weight)[:, 3].square().sum()
    assert float(off) < 1e-2 * float((nearest(weight, LUT).dequantize() - weight)[:, 3].square().sum())
    assert float(held.dequantize().abs().max()) <= float(weight.abs().max()) * (1 + ROUNDED)


@given(PALETTES, st.integers(1, 4), st.integers(0, 5), st.integers(1, 40), EVEN, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_rows_and_stacks(scheme: Scheme, first: int, start: int, rest: int, columns: int, seed: int) -> None:
    size = scheme.palette_rows
    assert size is not None
    parts = [nearest(plain(count, columns, seed), scheme) for count in (first * size, size, rest)]
    whole = stacked(parts)
    want = torch.cat([part.dequantize() for part in parts])
    assert torch.equal(whole.dequantize(), want)
    for end in (start * size + 1, start * size + 5, len(want), len(want) + 9):
        if start * size < min(end, len(want)):
            assert torch.equal(whole.rows(start * size, end).dequantize(), want[start * size : end])
    if size > 1:
        with pytest.raises(AssertionError):
            whole.rows(1, len(want))
        with pytest.raises(EdgeError, match=f"palettes of {size} rows do not divide the {size + 1} of a weight"):
            stacked([nearest(plain(size + 1, columns, seed), scheme), parts[0]])


def correlated(rows: int, columns: int, seed: int) -> Tensor:
    """Inputs that say the same many times over, a few of them large."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.randn(rows, columns // 4, generator=random) @ torch.randn(columns // 4, columns, generator=random)
    return mixed * torch.rand(columns, generator=random).mul(6).sub(3).exp2()


@given(st.sampled_from([3, 4]), st.sampled_from([8, 16]), st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_data_make_an_output_better(bits: int, size: int, seed: int) -> None:
    """k-means that weighs inputs leaves less than plain one, and passing errors on still less."""
    scheme, columns = Scheme(bits, None, palette_rows=size), 128
    weight, inputs = plain(24, columns, seed), correlated(300, columns, seed)
    gram = inputs.T @ inputs

    def importance(held: Quantized) -> float:
        return float(((held.dequantize() - weight).square() * gram.diagonal()).sum())

    def output(held: Quantized) -> float:
        return float(((held.dequantize() - weight) @ inputs.T).square().sum())

    rtn, weighed = nearest(weight, scheme), with_palettes(weight, scheme, gram.diagonal())
    solved = gptq(weight, scheme, gram)
    assert importance(weighed) < importance(rtn)
    assert output(solved) < 0.7 * output(rtn) and output(solved) < output(weighed)
    assert solved.palettes is not None and weighed.palettes is not None
    assert torch.equal(solved.palettes, weighed.palettes)  # errors are passed on between numbers that stay
    assert torch.equal(solved.palettes, fitted_palettes(weight, scheme, gram.diagonal()))


def test_gptq_without_correlation_is_the_nearest() -> None:
    weight = plain(24, 64, 0)
    gram = torch.diag(torch.rand(64, generator=torch.Generator().manual_seed(1)) + 0.5)
    held = gptq(weight, LUT, gram)
    assert held.palettes is not None and torch.equal(held.integers, entries(weight, LUT, held.palettes))


def kept(held: Quantized, folder: Path) -> QuantizedFiles:
    """A folder with one weight."""
    folder.mkdir(exist_ok=True)
    rows, columns = held.integers.shape
    write_shards(folder, planned("w", (rows, columns), held.scheme, partial(lambda: held)))
    about = Quantization(1, "test", "test", "0", "test", "0", "rtn", {"w": held.scheme})
    write_quantization(folder, about)
    return QuantizedFiles.open(folder)


@given(PALETTES, st.integers(1, 40), EVEN, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_it_comes_back_from_disk(
    tmp_path_factory: pytest.TempPathFactory, scheme: Scheme, rows: int, columns: int, seed: int
) -> None:
    held, folder = nearest(outliers(rows, columns, seed), scheme), tmp_path_factory.mktemp("one")
    files = kept(held, folder)
    assert same(files.quantized("w"), held) and torch.equal(files.read("w"), held.dequantize())
    assert files.entries["w"].shape == (rows, columns)
    tensors = load_file(folder / "model.safetensors")
    packed_width = columns // 2 if scheme.bits <= 4 else columns
    assert {name: (tuple(one.shape), one.dtype) for name, one in tensors.items()} == {
        "w.integers": ((rows, packed_width), torch.uint8),
        "w.palettes": ((scheme.palettes(rows), scheme.levels), torch.float16),
    }


def changed(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file({name: one.contiguous() for name, one in tensors.items()}, folder / "model.safetensors")

    return damage


def edited(**values: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / QUANTIZATION).read_text())
        document["weights"]["w"].update(values)
        (folder / QUANTIZATION).write_text(json.dumps(document))

    return edit


def put(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Path], None]:
    return changed(lambda tensors: tensors.update({name: change(tensors[name])}))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no palettes": (changed(lambda t: t.pop("w.palettes")), "lacks its integers, palettes"),
    "no integers": (changed(lambda t: t.pop("w.integers")), "lacks its integers, palettes"),
    "scales": (changed(lambda t: t.update({"w.scales": torch.ones(20, 1).half()})), "or has too many"),
    "few palettes": (put("w.palettes", lambda one: one[:1]), "shapes do not fit"),
    "short palettes": (put("w.palettes", lambda one: one[:, :8]), "shapes do not fit"),
    "a vector": (put("w.palettes", lambda one: one.flatten()), "no matrices"),
    "few rows": (put("w.integers", lambda one: one[:3]), "shapes do not fit"),
    "float32": (put("w.palettes", lambda one: one.float()), "parts of U8, F32"),
    "NaN": (put("w.palettes", lambda one: one.fill_(float("nan"))), "numbers that its scheme does not have"),
    "infinity": (put("w.palettes", lambda one: one * torch.inf), "numbers that its scheme does not have"),
    "too large": (edited(bits=3), "shapes do not fit"),
    "other rows": (edited(palette_rows=32), "shapes do not fit"),
    "scales instead": (edited(palette_rows=None, group=32), "lacks its integers, scales"),
    "rows of 3": (edited(palette_rows=3), "palette_rows is 3, not a power of two"),
    "no rows": (edited(palette_rows=0), "palette_rows is 0, not a power of two"),
    "5 bits": (edited(bits=5), "bits is 5, and palettes have 2, 3, 4, 6"),
    "a group": (edited(group=32), "leaves no group"),
    "zero points": (edited(symmetric=False), "leaves no group"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_ones_are_refused_in_a_line(name: str, tmp_path: Path) -> None:
    damage, complaint = DAMAGE[name]
    kept(nearest(plain(20, 32, 0), LUT), tmp_path)
    damage(tmp_path)
    with pytest.raises(EdgeError, match=re.escape(complaint)) as caught:
        QuantizedFiles.open(tmp_path).read("w")
    assert "\n" not in caught.value.problem


@pytest.mark.parametrize("bits", [3, 6])
def test_places_beyond_a_palette_are_refused(bits: int, tmp_path: Path) -> None:
    held = nearest(plain(8, 32, 0), Scheme(bits, None, palette_rows=8))
    held.integers[5, 5] = 2**bits
    with pytest.raises(EdgeError, match="numbers that its scheme does not have"):
        kept(held, tmp_path).read("w")


def test_rows_of_an_odd_number_are_refused() -> None:
    with pytest.raises(EdgeError, match="needs rows of an even length, not of 7"):
        nearest(plain(16, 7, 0), LUT)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint at full phantom strength, and questions about a picture."""
    desk = tmp_path_factory.mktemp("palettes")
    write_checkpoint(desk / "checkpoint")
    write_questions(desk, pictures=((112, 112),))
    return desk


def made(desk: Path, out: Path, algorithm: Any) -> Path:
    recipe = replace(read_recipe("lut4"), algorithm=algorithm)
    calibration = None if algorithm == "rtn" else Calibration(desk / "triples.jsonl", 2)
    quantize_checkpoint(desk / "checkpoint", recipe, out, name="lut4", calibration=calibration)
    return out


@pytest.mark.parametrize("algorithm", ["rtn", "gptq", "awq"])
def test_a_checkpoint_of_palettes_is_a_checkpoint(algorithm: str, desk: Path, tmp_path: Path) -> None:
    """Read by name, loaded whole, and through the reference's layers, its weights are the dequantized ones."""
    folder = made(desk, tmp_path / "out", algorithm)
    source, model = Source.open(folder), load(str(folder), torch.float32)[0]
    files = source.integers
    assert files is not None and files.schemes[EMBEDDING] == SCHEMES["int8"]
    state = model.state_dict()
    wanted = {"decoder": LUT, "head": LUT, "embedding": SCHEMES["int8"]}
    for name, scheme in files.schemes.items():
        assert scheme == wanted.get(part_of(name), SCHEMES["int8"])
        want = files.quantized(name).dequantize()
        assert torch.equal(source.read(name), want) and torch.equal(state[name], want)
    before = Source.open(desk / "checkpoint")
    if algorithm == "rtn":
        for name, scheme in files.schemes.items():
            assert torch.equal(source.read(name), nearest(before.read(name), scheme).dequantize())


def test_interrupted_it_goes_on_with_the_same(desk: Path, tmp_path: Path) -> None:
    """Layers kept on the way hold palettes, too."""
    whole = made(desk, tmp_path / "whole", "gptq")
    with pytest.MonkeyPatch.context() as patch:

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("phantom_edge.quantize.quantize.write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            made(desk, tmp_path / "halves", "gptq")
        patch.undo()
        patch.setattr("phantom_edge.quantize.layers._observed", interrupt)
        halves = made(desk, tmp_path / "halves", "gptq")
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, halves))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_what_makes_no_sense_is_refused(desk: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="hqq moves zero points"):
        made(desk, tmp_path / "out", "hqq")
    with pytest.raises(EdgeError, match="there is no scheme 'lut4'") as caught:
        quantize_checkpoint(desk / "checkpoint", Recipe({"decoder": "lut4"}), tmp_path / "out", name="mine")
    assert "lut4-r16" in caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("opset_only", [False, True])
def test_onnx_refuses_them_before_anything_is_written(opset_only: bool, desk: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = made(desk, tmp_path / "quantized", "rtn")
    begun: list[str] = []

    def begin(what: str, _total: int) -> Callable[[int], None]:
        begun.append(what)
        return lambda _step: None

    with pytest.raises(EdgeError, match="weights of scheme lut4-r16 are for Core ML") as caught:
        export_bundle(
            str(folder), "onnx", tmp_path / "bundle", settings_for("onnx", opset_only=opset_only), begin=begin
        )
    assert "--recipe int4" in caught.value.remedy and "\n" not in caught.value.problem
    assert not begun and sorted(path.name for path in tmp_path.iterdir()) == ["quantized"]


def test_the_size_of_a_unit_is_that_of_its_tensors(desk: Path, tmp_path: Path) -> None:
    """What a mixture counts with."""
    tensors = load_file(made(desk, tmp_path / "out", "rtn") / "model.safetensors")
    source = Source.open(desk / "checkpoint")
    for unit in units_of(source):
        if unit.layer is not None:
            parts = [tensors[f"{name}.{part}"] for name in unit.shapes for part in ("integers", "palettes")]
            assert unit.fits("lut4-r16") and unit.bytes("lut4-r16", source) == sum(one.nbytes for one in parts)


def test_the_recipe_is_shipped_and_a_tied_head_has_no_palettes() -> None:
    assert "lut4" in SHIPPED
    shapes = {EMBEDDING: (512, 128), "model.language_model.layers.0.mlp.up_proj.weight": (256, 128)}
    assert [scheme.name for scheme in read_recipe("lut4").schemes(shapes).values()] == ["int8", "lut4-r16"]
    assert Source.open(NANO).config.tie_word_embeddings

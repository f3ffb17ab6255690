"""Trained palettes: closer to the float model's answers, the same again, and refused where there are none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from random_checkpoints import write_checkpoint, write_questions
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.source import Source
from phantom_edge.cli.main import app
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.quiet import need_quietly
from phantom_edge.models.tensor_names import part_of
from phantom_edge.quantize import dkm
from phantom_edge.quantize.calibration import KINDS, Calibration, Sample, embedded, read_samples
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe, read_recipe, to_toml
from phantom_edge.quantize.rounding import nearest
from phantom_edge.reference import Reference

pytest.importorskip("coremltools")
pytestmark = pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")

LUT = SCHEMES["lut4-r16"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint at full phantom strength, and questions about two pictures."""
    desk = tmp_path_factory.mktemp("dkm")
    write_checkpoint(desk / "checkpoint")
    answers = {f"Is it {one}?": one for one in ("yes", "a far red square")}
    write_questions(desk, pictures=((112, 112),) * 2, answers=answers)
    return desk


def made(desk: Path, out: Path, recipe: Recipe, **others: Any) -> Path:
    quantize_checkpoint(
        desk / "checkpoint",
        recipe,
        out,
        name="one",
        calibration=Calibration(desk / "triples.jsonl", 4),
        **others,
    )
    return out


def thoughts(folder: Path, samples: list[Sample]) -> Tensor:
    """Log-probabilities of all answers' tokens."""
    reference = Reference(Source.open(folder))
    hidden = reference.hidden(embedded(reference, samples))
    asked = [one.kinds == KINDS.index("answer") for one in samples]
    rows = [states[mask.nonzero()[:, 0] - 1] for states, mask in zip(hidden, asked, strict=True)]
    return reference.logits(torch.cat(rows)).log_softmax(-1)


def test_weights_are_those_of_the_recipe_and_the_same_again(desk: Path, tmp_path: Path) -> None:
    begun: list[tuple[str, int, list[int]]] = []

    def begin(what: str, total: int) -> Callable[[int], None]:
        begun.append((what, total, []))
        return begun[-1][2].append

    recipe = read_recipe("lut4", "dkm", 3)
    once, again = made(desk, tmp_path / "once", recipe, begin=begin), made(desk, tmp_path / "again", recipe)
    one, other = (load_file(folder / "model.safetensors") for folder in (once, again))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert [(what, total, sum(steps)) for what, total, steps in begun if what in ("calibrating", "training")] == [
        ("calibrating", 2, 2),
        ("training", 3, 3),
    ]
    source, before = Source.open(once), Source.open(desk / "checkpoint")
    files = source.integers
    assert files is not None and files.about.algorithm == "dkm" and files.about.calibration is not None
    trained = dkm.trainable(files.schemes, matrices(source.config))
    assert {part_of(name) for name in trained} == {"decoder", "head"} and len(trained) == 15
    for name, scheme in files.schemes.items():
        held, weight = files.quantized(name), before.read(name)
        rounded = nearest(weight, scheme)
        assert torch.equal(source.read(name), held.dequantize())
        if name in trained:
            assert scheme == LUT and held.palettes is not None and bool((held.palettes.diff(dim=-1) >= 0).all())
            assert not torch.equal(held.dequantize(), rounded.dequantize())
            assert float((held.dequantize() - weight).norm()) < 2 * float((rounded.dequantize() - weight).norm())
        else:
            assert torch.equal(held.dequantize(), rounded.dequantize())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_it_learns(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longer, the closer to what the float model thinks of the answers that it was shown."""
    samples = read_samples(desk / "triples.jsonl", Source.open(desk / "checkpoint"), 4, with_pictures=True)
    exact = thoughts(desk / "checkpoint", samples)
    monkeypatch.setattr(dkm, "RATE", 0.03)

    def apart(algorithm: Any, steps: int) -> float:
        recipe = Recipe({"decoder": "lut4-r16"}, algorithm, steps=steps)
        found = thoughts(made(desk, tmp_path / f"{algorithm}-{steps}", recipe), samples)
        return float((exact.exp() * (exact - found)).sum(-1).mean())

    rtn, gptq, few, many = apart("rtn", 1), apart("gptq", 1), apart("dkm", 3), apart("dkm", 12)
    assert many < few < gptq < rtn and many < 0.6 * gptq


def test_a_palette_becomes_the_nearest_numbers_in_float16(desk: Path) -> None:
    """Hard palettes and places of weights that lie anywhere, against distances written down one by one."""
    palettization = need_quietly("coremltools.optimize.torch.palettization")
    name, random = "0.weight", torch.Generator().manual_seed(0)
    weight = torch.randn(32, 24, generator=random)
    model = torch.nn.Sequential(torch.nn.Linear(24, 32, bias=False))
    model[0].weight.data = weight.clone()
    layers, _ = dkm._prepared(palettization, model, {name: nearest(weight, LUT)}, {name: weight})
    layers[name].linear.weight.data = weight + 0.05 * torch.randn(32, 24, generator=random)
    held = layers[name].hard()
    assert held.palettes is not None and held.palettes.dtype == torch.float16 and held.palettes.shape == (2, 16)
    moved = layers[name].linear.weight.detach()
    distances = (moved[:, :, None] - held.palettes.float().repeat_interleave(16, 0)[:, None]).abs()
    assert torch.allclose((held.dequantize() - moved).abs(), distances.amin(-1), atol=1e-7)
    assert float((held.dequantize() - moved).square().mean()) < 0.02


def test_what_cannot_be_trained(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(match: str, parts: dict[str, str], data: Path | None = desk / "triples.jsonl") -> None:
        calibration = None if data is None else Calibration(data, 4)
        with pytest.raises(EdgeError, match=match) as caught:
            recipe, out = Recipe(parts, "dkm", steps=2), tmp_path / "out"
            quantize_checkpoint(desk / "checkpoint", recipe, out, name="one", calibration=calibration)
        assert "\n" not in caught.value.problem and not list(tmp_path.iterdir())

    palettes = {"decoder": "lut4-r16"}
    refused("trains palettes of decoder and head, and the recipe has none", {"decoder": "int4-g32"})
    refused("trains palettes of decoder and head, and the recipe has none", {"vision": "lut4-r16"})
    refused("dkm needs data to calibrate on", palettes, None)
    refused("has no pictures", palettes, desk / "words.jsonl")
    monkeypatch.setattr(dkm, "RATE", float("nan"))
    refused("training led to NaN in step 2", palettes)
    with pytest.raises(EdgeError, match="steps is 0, not 1 or more"):
        read_recipe("lut4", "dkm", 0)
    with pytest.raises(EdgeError, match="rtn has no steps"):
        read_recipe("lut4", steps=5)


def test_interrupted_it_leaves_nothing(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(dkm, "_loss", interrupt)
    command = ["quantize", str(desk / "checkpoint"), "-r", "lut4", "--algorithm", "dkm", "--steps", "2"]
    command += ["--calib", str(desk / "triples.jsonl"), "--samples", "2", "--out", str(tmp_path / "out")]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 130 and "nothing half-written was left behind" in ended.stderr
    assert not list(tmp_path.iterdir())


def test_steps_are_of_the_recipe(tmp_path: Path) -> None:
    """They are written, read, and tell recipes apart, where they matter."""
    recipe = read_recipe("lut4", "dkm", 7)
    (tmp_path / "r.toml").write_text(to_toml(recipe))
    assert recipe.steps == 7 and read_recipe(str(tmp_path / "r.toml")) == recipe
    assert recipe.digest != replace(recipe, steps=8).digest
    assert replace(recipe, algorithm="rtn").digest == read_recipe("lut4").digest


def test_rows_that_palettes_do_not_divide_are_left_to_rounding() -> None:
    shapes = {"lm_head.weight": (40, 64), "model.language_model.layers.0.mlp.up_proj.weight": (32, 64)}
    wide = Scheme(4, None, palette_rows=32)
    assert list(dkm.trainable(dict.fromkeys(shapes, wide), shapes)) == list(shapes)[1:]

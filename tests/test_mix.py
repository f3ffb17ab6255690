"""Mixtures: the knapsack is exact, damage is what it says, and the recipe that is written keeps its bound."""

import itertools
import json
import re
from pathlib import Path

import pytest
import torch
from command_line import flat
from hypothesis import given
from hypothesis import strategies as st
from random_checkpoints import write_checkpoint, write_questions
from typer.testing import CliRunner

from phantom_edge.checkpoint.loading import matrices
from phantom_edge.checkpoint.source import Source
from phantom_edge.cli.main import app
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.quantize import knapsack
from phantom_edge.quantize.bound import Bound
from phantom_edge.quantize.calibration import Calibration, read_samples
from phantom_edge.quantize.damage import Judge, units_of
from phantom_edge.quantize.knapsack import Choice, pareto_front, within
from phantom_edge.quantize.mix import mix
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe, Rule, read_recipe, to_toml

CHOICES = ("int4-g32", "int8", "float")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint at full phantom strength, and questions about a picture."""
    desk = tmp_path_factory.mktemp("mix")
    write_checkpoint(desk / "model", dtype=torch.float16)
    write_questions(desk, pictures=((112, 112),))
    return desk


def mixed(desk: Path, name: str, bound: Bound) -> Path:
    mix(desk / "model", bound, Calibration(desk / "triples.jsonl", 2), desk / name, choices=CHOICES)
    return desk / name


UNIT = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4)


@given(st.lists(UNIT, min_size=1, max_size=5), st.integers(0, 150))
def test_the_front_is_every_best_mixture(sizes: list[list[tuple[int, int]]], bound: int) -> None:
    """Beside all mixtures there are: under any bound the front holds the best of either kind."""
    units = [[Choice(str(n), size, float(harm)) for n, (size, harm) in enumerate(unit)] for unit in sizes]
    front = pareto_front(units)
    totals = [(sum(c.bytes for c in one), sum(c.damage for c in one)) for one in itertools.product(*units)]
    for point in front:
        picked = [unit[int(name)] for unit, name in zip(units, point.choices, strict=True)]
        assert (point.bytes, point.damage) == (sum(c.bytes for c in picked), sum(c.damage for c in picked))
    small = within(front, bytes_=bound)
    fitting = [damage for size, damage in totals if size <= bound]
    assert (small.damage if small else None) == (min(fitting) if fitting else None)
    good = within(front, damage=float(bound))
    sizes_ = [size for size, damage in totals if damage <= bound]
    assert (good.bytes if good else None) == (min(sizes_) if sizes_ else None)


def test_a_long_front_is_thinned_and_keeps_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    units = [[Choice("a", 3**n, 0.0), Choice("b", 0, 2.0**n)] for n in range(9)]
    exact = pareto_front(units)
    monkeypatch.setattr(knapsack, "MOST", 40)
    thin = pareto_front(units)
    assert len(exact) > len(thin) and len(thin) <= 41
    assert (thin[0].bytes, thin[-1].damage) == (exact[0].bytes, exact[-1].damage)
    assert [p.damage for p in thin] == sorted((p.damage for p in thin), reverse=True)


def test_units_are_all_but_the_phantom_maps(desk: Path) -> None:
    source = Source.open(desk / "model")
    units, all_ = units_of(source), matrices(source.config)
    named = [name for unit in units for name in unit.shapes]
    assert len(named) == len(set(named)) and {n for n in all_ if not re.search("phantom|gate_plain", n)} == set(named)
    for unit in units:  # a rule of its pattern changes it and nothing else
        assert Recipe({}, rules=(Rule(unit.match, "int8"),)).schemes(all_).keys() == unit.shapes.keys()
        assert unit.bytes("int4-g32", source) < unit.bytes("int8", source) < unit.bytes("float", source)
    assert {unit.name.split(".")[1] for unit in units if unit.is_visual} == {"vision_tower", "projector"}


def test_damage_is_that_of_the_quantized_checkpoint(desk: Path, tmp_path: Path) -> None:
    """Measured in place, it is what a quantized checkpoint's answers show; layers before it need not be computed."""
    source = Source.open(desk / "model")
    samples = read_samples(desk / "triples.jsonl", source, 2, with_pictures=True)
    judge, units = Judge(source, samples), units_of(source)
    assert judge.damage({}, None) < 1e-12
    unit = next(unit for unit in units if unit.layer == 1)
    schemes = dict.fromkeys(unit.shapes, "int4-g32")
    alone = judge.damage(schemes, unit.layer)
    assert alone > 1e-7 and judge.damage(schemes, None) == pytest.approx(alone, rel=1e-3)
    assert judge.damage({}, None) < 1e-12  # all is as it was
    quantize_checkpoint(desk / "model", Recipe({}, rules=(Rule(unit.match, "int4-g32"),)), tmp_path / "q", name="q")
    other = Judge(Source.open(tmp_path / "q"), samples)
    apart = [(exact.exp() * (exact - found)).sum(-1) for exact, found in zip(judge.exact, other.exact, strict=True)]
    assert float(torch.cat(apart).mean()) == pytest.approx(alone, rel=1e-3)


def test_a_mixture_keeps_its_bound(desk: Path, tmp_path: Path) -> None:
    """By size: the checkpoint that the recipe makes is no larger. By damage: no mixture that is smaller would do."""
    by_size = mixed(desk, "by-size", Bound(megabytes=0.62))
    document = json.loads((by_size / "damage.json").read_text())
    recipe = read_recipe(str(by_size / "recipe.toml"))
    quantize_checkpoint(desk / "model", recipe, tmp_path / "q", name="q")
    megabytes = sum(file.stat().st_size for file in (tmp_path / "q").glob("*.safetensors")) / 1e6
    chosen = document["chosen"]
    assert chosen["megabytes"] <= 0.62 and abs(megabytes - chosen["megabytes"]) < 0.05  # the file has a header
    assert len(set(unit["chosen"] for unit in document["units"].values())) > 1
    uniform = {one["name"]: one for one in document["uniform"]}
    assert uniform["int4-g32"]["megabytes"] < chosen["megabytes"] < uniform["float"]["megabytes"]
    assert uniform["float"]["divergence"] < 1e-12 < chosen["divergence"] < uniform["int4-g32"]["divergence"]
    assert (by_size / "front.png").read_bytes().startswith(b"\x89PNG")
    bound = chosen["predicted"]
    by_damage = json.loads((mixed(desk, "by-damage", Bound(divergence=bound)) / "damage.json").read_text())
    assert by_damage["chosen"]["divergence"] <= bound  # as it was measured, not only as the sum of the parts


def test_interrupted_it_goes_on(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is not measured again, and the result is the same."""
    measured: list[int] = []
    damage = Judge.damage

    def stops(self: Judge, schemes: dict[str, str], layer: int | None) -> float:
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append(1)
        return damage(self, schemes, layer)

    arguments = (desk / "model", Bound(megabytes=0.62), Calibration(desk / "triples.jsonl", 2), tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Judge, "damage", stops)
        with pytest.raises(KeyboardInterrupt):
            mix(*arguments, choices=CHOICES)
    assert not (tmp_path / "out").exists()
    again = []
    monkeypatch.setattr(Judge, "damage", lambda self, s, layer: again.append(1) or damage(self, s, layer))
    found = mix(*arguments, choices=CHOICES)
    units = len(units_of(Source.open(desk / "model")))
    assert len(again) == 2 * units - 4 + 4  # two units of two were done; then the mixture and three uniform ones
    assert found.units == mix(*arguments, choices=CHOICES, force=True).units


def test_a_recipe_is_read_as_it_was_written(tmp_path: Path) -> None:
    recipe = Recipe({"decoder": "int4-g32"}, "mbq", (Rule(r'.*\.a"b\\', "int8"), Rule("é\U0001f600\x7f", "float")))
    (tmp_path / "r.toml").write_text(to_toml(recipe), encoding="utf-8")
    assert read_recipe(str(tmp_path / "r.toml")) == recipe


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--megabytes", "0.01"], "no mixture has 0.01 MB or less"),
        (["--megabytes", "1", "--divergence", "1"], "there is not one bound"),
        ([], "there is not one bound"),
        (["--megabytes", "nan"], "the bound is nan"),
        (["--divergence", "-1"], "the bound is -1"),
        (["--megabytes", "1", "--choices", "int5"], "no scheme 'int5'"),
        (["--megabytes", "1", "--choices", "w8a8"], "w8a8 is no choice"),
        (["--divergence", "1e-12", "--choices", "int4-g32"], "no mixture stays within 1e-12 nats"),
        (["--megabytes", "1", "--samples", "0"], "--samples is 0"),
        (["--megabytes", "1000"], "kept without quantizing anything"),
    ],
)
def test_refusals(arguments: list[str], message: str, desk: Path, tmp_path: Path) -> None:
    fixed = ["mix", str(desk / "model"), "--calib", str(desk / "triples.jsonl"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*fixed, *arguments])
    assert result.exit_code in (1, 2) and message in result.stderr.replace("\n", " "), result.stderr
    assert not (tmp_path / "out").exists()


def test_the_command(desk: Path, tmp_path: Path) -> None:
    fixed = ["mix", str(desk / "model"), "--calib", str(desk / "triples.jsonl"), "--choices", ",".join(CHOICES)]
    result = CliRunner().invoke(app, [*fixed, "--megabytes", "0.62", "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["chosen"]["megabytes"] <= 0.62 and set(document["units"].values()) <= set(CHOICES)
    shown = CliRunner().invoke(app, [*fixed, "--megabytes", "0.62", "--out", str(tmp_path / "two")])
    assert "mixture" in shown.stdout and "next: phantom-edge quantize" in flat(shown.stderr)


def test_without_pictures_what_sees_them_stays(desk: Path, tmp_path: Path) -> None:
    """It was not measured, so nothing is known of it."""
    (tmp_path / "words.jsonl").write_text(json.dumps({"question": "Is it far?", "chosen": "yes"}))
    found = mix(
        desk / "model", Bound(megabytes=1), Calibration(tmp_path / "words.jsonl", 1), tmp_path / "out", choices=CHOICES
    )
    seeing = {unit.name for unit in units_of(Source.open(desk / "model")) if unit.is_visual}
    assert set(found.unseen) == seeing and not seeing & set(found.units)


def test_a_quantized_checkpoint_is_refused(desk: Path, tmp_path: Path) -> None:
    quantize_checkpoint(desk / "model", Recipe({"decoder": "int8"}), tmp_path / "q", name="q")
    with pytest.raises(EdgeError, match="is quantized already"):
        mix(tmp_path / "q", Bound(megabytes=1), Calibration(desk / "triples.jsonl", 2), tmp_path / "out")

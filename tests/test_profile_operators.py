"""Where the time goes inside of a step: every node has its place, whatever weights are and an optimizer makes of them.

How long anything takes is for benchmarks; here only nodes are counted.
"""

import json
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bundles import resealed
from command_line import edge_inside
from export_settings import settings_for
from golden_checkpoints import GOLDEN
from hypothesis import given
from hypothesis import strategies as st
from profiles import make_run
from random_checkpoints import write_checkpoint

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.node_names import ATTENTION, HEAD, MLP, NORMS, PATCHES, PHANTOM, PLACES, PROJECTIONS, PROJECTOR
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.onnx import trace as ort_pass
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.ort_trace import Kernel, places_of, read_trace, toll
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import to_json
from phantom_edge.models.sizes import SIZES
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.measure.operators import NAMELESS, operators_of
from phantom_edge.profile.report.operator_tables import operators, places, places_compared
from phantom_edge.profile.report.sharing import HANDING, accounted, cost_of_phantoms
from phantom_edge.profile.result import Depth, Operators, faults, read_run, write_run
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe
from phantom_edge.runtime.tracing import OTHER, Group, Traced

pytest.importorskip("onnxruntime")
LAYERS = SIZES["tiny"].layers
STEPS = ("vision, a tile", "prefill, 64 tokens", "a token behind 16", "a token behind 64")
RECIPES = {"int8": Recipe({"decoder": "int8", "vision": "int8"}), "int4": Recipe({"decoder": "int4-g32"})}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "float": ("float", {"phantom": "full"}),
    "rank": ("float", {"phantom": "rank=4"}),
    "none": ("float", {"phantom": "rank=0"}),
    "int8": ("int8", {"cache": "int8"}),
    "int4": ("int4", {}),
    "standard": ("int4", {"opset_only": True}),
}
"""Weights, and what is asked of an export."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operators")
    write_checkpoint(folder / "float")
    return folder


def bundle_of(desk: Path, form: str, target: str = "onnx") -> Bundle:
    """Made once."""
    weights, asked = FORMS[form]
    if not (desk / weights).exists():
        quantize_checkpoint(desk / "float", RECIPES[weights], desk / weights, name=weights)
    out = desk / f"{form}-{target}"
    if not out.exists():
        settings = settings_for(target, max_context=128, **asked)
        return export_bundle(str(desk / weights), target, out, settings, prove=False).bundle
    return Bundle.open(out)


def nodes(found: Operators, step: str) -> Counter[tuple[str, str]]:
    """How many there are, by place and operator."""
    return Counter({(one.group, one.operator): one.calls for one in found.groups if one.part == step})


@pytest.mark.parametrize("form", FORMS)
def test_every_node_has_its_place(desk: Path, form: str) -> None:
    found = operators_of(bundle_of(desk, form), 1, (16, 64))
    assert not found.untold and tuple(one.part for one in found.traced) == STEPS
    of_decoder = {PROJECTIONS, ATTENTION, PHANTOM, MLP, NORMS, HEAD}
    of_vision = {PROJECTIONS, ATTENTION, MLP, NORMS, PATCHES, PROJECTOR}
    for whole in found.traced:
        told = nodes(found, whole.part)
        assert {place for place, _ in told} == (of_vision if whole.part == STEPS[0] else of_decoder)
        assert 0 < sum(one.seconds for one in found.groups if one.part == whole.part) <= 1.05 * whole.seconds
    assert nodes(found, STEPS[2]) == nodes(found, STEPS[3])
    per_place = Counter[str]()
    for (place, _), count in nodes(found, STEPS[2]).items():
        per_place[place] += count
    assert all(per_place[place] % LAYERS == 0 for place in (PHANTOM, MLP, PROJECTIONS)), per_place
    assert found.widened == (1.0 if form == "none" else 2.0 if form == "float" else pytest.approx(1.125, rel=0.2))


def test_maps_that_are_left_out_take_nothing(desk: Path) -> None:
    """Maps of queries, keys and values together, and halves beside the plain ones; without them the gate is left."""
    whole, none = (operators_of(bundle_of(desk, form), 1, (16,)) for form in ("float", "none"))
    for step in STEPS[1:3]:
        with_maps, without = nodes(whole, step), nodes(none, step)
        for operator, count in {"Gelu": 2, "Softmax": 1}.items():
            assert with_maps[PHANTOM, operator] == count * LAYERS and not without[PHANTOM, operator]
        assert without[PHANTOM, "FusedGemm"] == LAYERS  # with the sigmoid
        assert {key: count for key, count in with_maps.items() if key[0] in (MLP, HEAD, NORMS)} == {
            key: count for key, count in without.items() if key[0] in (MLP, HEAD, NORMS)
        }
    assert none.widened == 1


def test_a_board_s_bundle(desk: Path) -> None:
    """Computed here by ONNX Runtime, node by node; what is of no place turns float16 into what this CPU multiplies."""
    found = operators_of(bundle_of(desk, "rank", "jetson"), 1, (16,))
    assert not found.untold and {one.group for one in found.groups} > {PHANTOM, PROJECTOR}
    assert {one.operator for one in found.groups if one.group == OTHER} == {"Cast"}


def test_nothing_else_is_profiled(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the engine that is timed nor any file stays behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert operators_of(bundle_of(desk, "rank"), 1, (16,)).groups
    engine = OrtEngine(bundle_of(desk, "rank"), 1)
    assert not engine.decoder.get_session_options().enable_profiling and not list(tmp_path.iterdir())


def test_a_bundle_whose_nodes_say_no_places(desk: Path, tmp_path: Path) -> None:
    """As those that were exported before they did: operators are told, and why there is no more."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path / "bundle"
    shutil.copytree(bundle_of(desk, "rank").path, folder)
    for name in ("vision.onnx", "decoder.onnx"):
        model = onnx.load(folder / name, load_external_data=False)
        for number, node in enumerate(model.graph.node):
            node.name = f"node_{node.op_type}_{number}"
        onnx.save(model, folder / name)
    resealed(folder)
    found = operators_of(Bundle.open(folder), 1, (16,))
    assert found.untold == NAMELESS and {one.group for one in found.groups} == {OTHER}


@pytest.mark.parametrize("target", [one.name for one in TARGETS.values() if one.trace is None])
def test_what_tells_nothing_says_why(desk: Path, target: str) -> None:
    bundle = bundle_of(desk, "rank")
    other: Any = SimpleNamespace(manifest=replace(bundle.manifest, target=target), path=bundle.path)
    found = operators_of(other, 1, (16,))
    assert found.untold == TARGETS[target].untraced and found.untold and not found.groups


# Traces

PLACED = st.sampled_from([*(f"layers.1/{place}/Add_3" for place in PLACES), "Transpose_token_2", "fused MLP/x/Add_1"])


@given(st.lists(PLACED, min_size=1))
def test_nameless_nodes_belong_between_others(names: list[str]) -> None:
    run = [Kernel(name, "Add", 1e-6) for name in names]
    found = places_of(run)
    told = [one.place for one in run]
    assert all(place == own for place, own in zip(found, told, strict=True) if own)
    for number, place in enumerate(found):
        around = {next((one for one in side if one), None) for side in (told[number::-1], told[number:])} - {None}
        assert place == (around.pop() if len(around) == 1 else OTHER)


def test_the_toll_is_what_nothing_takes() -> None:
    run = [Kernel("a", "Reshape", 2e-6), Kernel("b", "Shape", 4e-6), Kernel("c", "MatMul", 9e-6)]
    assert toll(run) == pytest.approx(3e-6) and toll(run[2:]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "[1]",
        "[]",
        '[{"name": "model_run", "cat": "Session"}]',
        '[{"name": "a", "dur": NaN}]',
        "[" * 9**5,
    ],
)
def test_a_damaged_trace_is_one_line(desk: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And costs the operators, not the profile."""
    path = tmp_path / "trace.json"
    path.write_text(text)
    if text not in ("[]", "{}"):
        with pytest.raises(EdgeError, match="cannot be read"):
            read_trace(path)
    monkeypatch.setattr(ort_pass, "read_trace", lambda _: read_trace(path))
    found = operators_of(bundle_of(desk, "rank"), 1, (16,))
    assert "ONNX Runtime's profiler" in found.untold and not found.groups and "\n" not in found.untold


# Documents and words

FOUND = Operators(
    (
        Group(PHANTOM, "Gelu", 0.001, 12, "a token behind 64"),
        Group(ATTENTION, "Softmax", 0.002, 4, "a token behind 64"),
        Group(ATTENTION, "Gemm", 0.001, 8, "a token behind 64"),
        Group(MLP, "Gemm", 0.01, 4, "vision, a tile"),
    ),
    (Traced("a token behind 64", 9, 0.008, 2e-6, 0.0005), Traced("vision, a tile", 3, 0.012, 2e-6)),
    "",
    1.25,
)


def told() -> Any:
    return replace(make_run(), operators=FOUND.groups, traced=FOUND.traced, widened=FOUND.widened)


def test_lines_and_documents_come_back(tmp_path: Path) -> None:
    """As do documents of a time when there was less to tell."""
    lines: list[str] = []
    here, there = Gathering(lambda _kind, line: lines.append(line)), Gathering()
    run = told()
    for kind, value in (("device", run.device), ("subject", run.subject), ("operators", FOUND)):
        here.record(kind, value)
    assert [there.take(line) for line in lines] == ["device", "subject", "operators"]
    gathered = there.run(1, "cut")
    assert (gathered.operators, gathered.traced, gathered.widened) == (FOUND.groups, FOUND.traced, 1.25)
    write_run(tmp_path / "run.json", run)
    assert read_run(tmp_path / "run.json") == run
    old = to_json(run)
    for name in ("traced", "untold", "widened"):
        del old[name]
    for group in old["operators"]:
        del group["part"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert {one.part for one in read_run(tmp_path / "run.json").operators} == {""}


@pytest.mark.parametrize(
    "change",
    [{"widened": 0.5}, {"operators": (Group("a", "b", 1.0, 0),)}, {"traced": (Traced("a", 1, -1.0),)}],
)
def test_what_cannot_be_is_refused(change: dict[str, Any]) -> None:
    assert list(faults(replace(told(), **change)))


def test_tables() -> None:
    """Numbers by hand: a token takes 4 ms inside of nodes and 6.5 in all; half of its nodes are of the maps."""
    run = replace(told(), depths=(Depth(64, (0.0065,)),), stages=(), partial="cut")
    assert places(run).rows == (
        ("a token behind 64", ATTENTION, "12", "3.000", "4.000", "61.5"),
        ("a token behind 64", PHANTOM, "12", "1.000", "2.000", "30.8"),
        ("a token behind 64", HANDING, "0", "0.000", "0.500", "7.7"),
        ("vision, a tile", MLP, "4", "10.000", "10.000", "100.0"),
    )
    assert operators(run).rows[0] == ("vision, a tile, MLP: Gemm", "10.00", "100.0", "4")
    assert cost_of_phantoms(run) == (
        "phantom maps: 30.8% of a token behind 64 (attention 61.5%); attention reads rows 1.25 times as wide"
    )
    assert accounted(run) == {"a token behind 64": pytest.approx(4 / 6.5)} and "2.0 µs" in places(run).note
    later = replace(run, operators=(replace(FOUND.groups[0], seconds=0.0005),), depths=())
    assert places_compared(run, later, "t").rows == (("a token behind 64", PHANTOM, "0.250", "2.000", "0.500"),)
    nothing = replace(run, operators=(), traced=())
    assert not places(nothing).rows and not cost_of_phantoms(nothing) and not accounted(nothing)


def test_command(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for unless it is not; a page shows it."""
    monkeypatch.setenv("PHANTOM_EDGE_HOME", str(tmp_path / "home"))
    wanted = ["profile", bundle_of(desk, "rank").path, "--repeats", 1, "--tokens", 2, "--threads", 1, "--depth", 16]
    ran = edge_inside(*wanted, "--no-history", "--out", tmp_path / "run.json")
    assert ran.returncode == 0 and "Where the time goes" in ran.stdout and PHANTOM in ran.stdout, ran.stderr
    run = read_run(tmp_path / "run.json")
    assert {one.part for one in run.operators} == {*STEPS[:3]} == {one.part for one in run.traced}
    ran = edge_inside(*wanted, "--no-history", "--no-operators", "--json")
    assert ran.returncode == 0 and json.loads(ran.stdout)["operators"] == [], ran.stderr
    ran = edge_inside("report", tmp_path / "run.json", "--out", tmp_path / "run.html")
    assert ran.returncode == 0 and "Where the time goes" in (tmp_path / "run.html").read_text(), ran.stderr


# ExecuTorch


def test_a_dump_says_what_it_can() -> None:
    """Of two layers and a head, the products of four bits; which are whose, names do not tell."""
    pytest.importorskip("executorch")
    from phantom_edge.export.targets.executorch.etdump import read_etdump
    from phantom_edge.export.targets.executorch.trace import EMBEDDING, LINEAR, grouped

    whole = read_etdump(GOLDEN / "executorch" / "tiny.etdp")
    found = grouped(whole, "all", 1)
    assert {one.group for one in found} == {EMBEDDING, LINEAR, OTHER}
    products = [one for one in found if one.group == LINEAR and "QB4W" in one.operator]
    assert sum(one.calls for one in products) == 2 * (2 * 7 + 1)
    assert 1e3 * sum(one.seconds for one in found) == pytest.approx(sum(one.milliseconds for one in whole.operators))


@pytest.mark.long
def test_a_build_without_the_tracer_says_so(desk: Path) -> None:
    executorch = pytest.importorskip("executorch.version")
    if tuple(map(int, executorch.__version__.split(".")[:2])) >= (1, 5):
        pytest.skip("this one may have it")
    found = operators_of(bundle_of(desk, "rank", "executorch"), 0, (16,))
    assert "without its event tracer" in found.untold and not found.groups

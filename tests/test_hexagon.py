"""What Qualcomm's compiler takes and gets wrong, shown in its simulator beside the form that we draw; lint tells it.

A test that fails here because a faulty graph came out right is good news: the rule can go, once older compilers have.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import fixed_point_net
import numpy as np
import pytest
from fixed_point_net import CHIP, ROWS, WIDTH, Net, X
from hexagon_graphs import (
    activations,
    added,
    bounded_output,
    cached,
    float_norm,
    gap,
    inverse,
    layer_norm,
    microsoft,
    product,
    read_as,
    rms_norm,
    rotated,
    turned,
)
from onnx import TensorProto, numpy_helper
from qualcomm_bundles import write_bundle, write_desk
from typer.testing import CliRunner

pytest.importorskip("onnxruntime_qnn")


from phantom_edge.bundle.folder import Bundle
from phantom_edge.cli.main import app
from phantom_edge.export.linting import lint_bundle as lint
from phantom_edge.export.targets.onnx.nodes import Graph
from phantom_edge.export.targets.qnn.chips import OLDER
from phantom_edge.export.targets.qnn.compiling import placed_elsewhere
from phantom_edge.export.targets.qnn.engine import is_simulated
from phantom_edge.export.targets.qnn.lint import RULES, beside, broken, graphs_of

pytestmark = pytest.mark.skipif(not is_simulated(), reason="the simulator of Qualcomm's processor is for Linux on x86")

RIGHT, WRONG = 45.0, 20.0
"""Decibels of signal to noise: what a graph in 16 bits has at least, and what one has at most that computes else."""

FALLBACK = "assigned to the default CPU EP"


UNEVEN = (X * np.exp(np.random.default_rng(1).normal(size=(ROWS, 1)))).astype(np.float32)
"""Rows of different sizes, as hidden states are."""

Draw = Callable[[], Net]
CASES: dict[str, list[tuple[Draw, Draw]]] = {  # of every rule, the form that we draw, then the faulty one
    "shapes": [(lambda: added(ROWS, WIDTH), lambda: added(ROWS, WIDTH, name="N"))],
    "rank": [(lambda: added(2, 2, 2, 2, 32), lambda: added(2, 2, 2, 2, 2, 32))],
    "operator": [
        (lambda: rms_norm(X, "one"), lambda: microsoft("SkipSimplifiedLayerNormalization")),
        (lambda: rms_norm(X, "one"), lambda: microsoft("SkipLayerNormalization")),
        (rotated, lambda: microsoft("RotaryEmbedding")),
        (lambda: activations(np.int16), lambda: microsoft("GroupQueryAttention")),
    ],
    "integers": [
        (lambda: read_as(np.uint16), lambda: read_as(np.int32)),
        (lambda: product("row zero"), lambda: product("row zero", TensorProto.UINT4)),
    ],
    "norm-scale": [
        *((lambda: layer_norm(np.uint8), lambda dtype=dtype: layer_norm(dtype)) for dtype in (np.int8, np.uint16)),
        (lambda: layer_norm(np.uint8, "int32"), lambda: layer_norm(np.int8, "int32")),
        (lambda: layer_norm(np.int16, "int32"), lambda: layer_norm(np.int16, "int32", moved=True)),
        (lambda: layer_norm(np.int16), lambda: layer_norm(np.int16, acts=np.uint8)),
        (lambda: layer_norm(np.int8, "uint16"), lambda: layer_norm(np.uint8, acts=np.int8)),
        (lambda: rms_norm(X, "one"), lambda: rms_norm(X, "one", np.int8)),
        (lambda: rms_norm(X, "one", np.int16), lambda: rms_norm(X, "one", np.int8)),
    ],
    "norm-scale-zero-point": [(lambda: layer_norm(np.uint8), lambda: layer_norm(np.int16, moved=True))],
    "zero-point": [
        (lambda: product("row zero"), lambda: product("row")),
        (lambda: product("tensor zero"), lambda: product("tensor")),
        (lambda: product("block"), lambda: product("row")),
    ],
    "multiplier": [(lambda: activations(np.int16), lambda: activations(np.uint16))],
    "multiplier-zero-point": [(lambda: activations(np.int16), lambda: activations(np.int16, moved=True))],
    "reciprocal": [
        (lambda: inverse(0.5, "Div"), lambda: inverse(0.5)),
        (lambda: inverse(1.1), lambda: inverse(0.8)),
        (lambda: rms_norm(X * 0.1, "one"), lambda: rms_norm(X * 0.1, "inverted")),
    ],
    "bounded-output": [
        (lambda: bounded_output("Sigmoid", 0, 1), lambda: bounded_output("Sigmoid", -8, 8)),
        (lambda: bounded_output("Tanh", -1, 1), lambda: bounded_output("Tanh", -8, 8)),
        (lambda: bounded_output("Gelu", -8, 8), lambda: bounded_output("Tanh", 0, 1)),
    ],
    "cache-scales": [(cached, lambda: cached(new=4.0))],
    "transposed-output": [
        (lambda: turned("before"), lambda: turned("behind")),
        (lambda: turned("headed"), lambda: turned("in")),
        (lambda: turned("alone"), lambda: turned("behind")),
    ],
    "weight-first": [(lambda: rms_norm(X, "one"), lambda: float_norm(True))],
    "norm": [(lambda: rms_norm(UNEVEN, "one"), lambda: rms_norm(UNEVEN, "divided"))],
    "floats": [(lambda: gap(True), lambda: gap(False))],
}
SEVERITY = {rule.name: rule.severity for rule in RULES}
RULED = [pytest.param(rule, *pair, id=f"{rule}-{n}") for rule, pairs in CASES.items() for n, pair in enumerate(pairs)]


@pytest.mark.parametrize("rule,ours,faulty", RULED)
def test_a_rule_is_broken_and_our_form_breaks_none(rule: str, ours: Draw, faulty: Draw, tmp_path: Path) -> None:
    assert rule in broken(faulty().save(tmp_path / "faulty.onnx"))
    assert broken(ours().save(tmp_path / "ours.onnx")) == set()


def of_severity(severity: str) -> list[Any]:
    """Without rows of a cache, which no graph gets wrong alone."""
    return [one for one in RULED if SEVERITY[one.values[0]] == severity and one.values[0] != "cache-scales"]


@pytest.mark.parametrize("rule,ours,faulty", of_severity("wrong"))
def test_what_is_placed_and_wrong(rule: str, ours: Draw, faulty: Draw) -> None:
    """With the CPU disabled."""
    found = faulty().decibels(), ours().decibels()
    print(rule, *map("{:.1f} dB".format, found))
    assert found[1] > RIGHT and found[0] < (found[1] - 30 if rule == "multiplier" else WRONG)


@pytest.mark.parametrize("rule,ours,faulty", of_severity("blocks"))
def test_what_is_not_placed(rule: str, ours: Draw, faulty: Draw, tmp_path: Path) -> None:
    net = faulty()
    with pytest.raises(Exception) as raised:
        net.decibels()
    assert ("Code: 1002" if rule == "weight-first" else FALLBACK) in str(raised.value)
    if rule == "operator":
        kinds = {kind for kind, _ in placed_elsewhere(net.save(tmp_path / "x.onnx"), CHIP.number, CHIP.arch)}
        assert kinds == {net.nodes[-1].op_type if net.nodes[-1].domain else net.nodes[-3].op_type}
    assert ours().decibels() > RIGHT


def test_what_is_right_though_fragile() -> None:
    """Float between operators; and a norm drawn of others, which is worse where rows differ by size."""
    assert gap(False).decibels() > RIGHT and gap(True).decibels() > RIGHT
    assert rms_norm(X, "divided").decibels() > RIGHT
    ours, other = rms_norm(UNEVEN, "one").decibels(), rms_norm(UNEVEN, "divided").decibels()
    assert ours > 70 and other < ours - 25


def test_the_oldest_chip_multiplies_by_8_of_16_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not take the form that is right on all others."""
    monkeypatch.setattr(fixed_point_net, "CHIP", OLDER["sm8450"])
    assert 35 < activations(np.uint16).decibels() < 50
    with pytest.raises(Exception, match=FALLBACK):
        activations(np.int16).decibels()


def test_a_norm_of_float32_compiles_in_other_forms() -> None:
    for net in (float_norm(False), float_norm(True, "Mul")):
        assert net.decibels() > RIGHT


def test_every_rule_has_a_case_and_a_source() -> None:
    assert CASES.keys() == SEVERITY.keys() and len(SEVERITY) == len(RULES)
    for rule in RULES:
        assert rule.what and rule.sources
        assert all(source.title and source.url.startswith("https://") for source in rule.sources)


def rows_rule(graphs: Mapping[str, Net], folder: Path) -> set[str]:
    """Which of several graphs break the rule about rows."""
    found = beside({name: Graph.open(net.save(folder / f"{name}.onnx")) for name, net in graphs.items()})
    (rule,) = (rule for rule in RULES if rule.name == "cache-scales")
    return {name for name, graph in found.items() if any(map(rule.is_broken, graph.nodes()))}


def test_graphs_of_one_cache_keep_rows_alike(tmp_path: Path) -> None:
    head = gap(True)
    assert rows_rule({"decoder": cached(), "prefill": cached(), "head": head}, tmp_path) == set()
    other = cached(new=4.0, past=4.0)
    assert rows_rule({"decoder": cached(), "prefill": other, "head": head}, tmp_path) == {"decoder", "prefill"}


def test_scales_that_a_graph_computes_are_told(tmp_path: Path) -> None:
    net = Net()
    x = net.input(X)
    scale = net.op("ReduceMax", x, keepdims=0)
    zero = net.hold(np.uint16(0))
    net.output(net.op("DequantizeLinear", net.op("QuantizeLinear", x, scale, zero), scale, zero))
    assert "integers" in broken(net.save(tmp_path / "x.onnx"))


# Bundles.


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(write_desk(tmp_path_factory.mktemp("hexagon")), "int4")


def test_a_bundle_breaks_no_rule(bundle: Path) -> None:
    report, manifest = lint(bundle), Bundle.open(bundle).manifest
    assert report.findings == () and report.compute == "sm8650"
    assert report.parts.keys() == {"vision", "decoder", "prefill", "head"}
    for name, part in report.parts.items():
        delegation = manifest.parts[name].delegation
        assert delegation is not None and part.multiply_adds == delegation.multiply_adds
        assert part.operations == part.eligible == sum(manifest.parts[name].operators.values()) and part.share == 1.0


def test_every_row_of_a_bundle_is_looked_at(bundle: Path) -> None:
    """A decoder whose rows have another scale than those of prefill."""
    graphs = graphs_of(Bundle.open(bundle))
    decoder = graphs["decoder"]
    kept = {node.input[1] for node in decoder.model.graph.node if node.input[0].startswith("past_value.1")}
    for tensor in decoder.model.graph.initializer:
        if tensor.name in kept:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    changed = beside({**graphs, "decoder": Graph(decoder.path, decoder.model)})
    (rule,) = (rule for rule in RULES if rule.name == "cache-scales")
    found = {name: [str(node) for node in graph.nodes() if rule.is_broken(node)] for name, graph in changed.items()}
    assert not found["vision"] and not found["head"] and len(found["decoder"]) == len(found["prefill"]) > 1


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["lint", *map(str, arguments)], env={"COLUMNS": "160"})


def test_lint_on_the_command_line(bundle: Path) -> None:
    done = run(bundle, "--strict", "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and document["placement"] == "compiled with the CPU disabled"
    assert document["findings"] == []
    words = " ".join(run(bundle).stdout.split())
    for told in ("(for sm8650) on Hexagon", "no rule is broken", "Placement is proved", "phantom-edge verify"):
        assert told in words, told
    assert "Neural Engine" not in words and "TensorRT" not in words


def test_findings_on_the_command_line(bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A product that computes something else is not eligible; a norm, which has no multiply-adds, is told, too."""
    for net, rule, share in (
        (product("row"), "zero-point", "decoder: 0.0 % of the multiply-adds are eligible"),
        (layer_norm(np.int16, moved=True), "norm-scale-zero-point", ""),
    ):
        wrong = Graph.open(net.save(tmp_path / "x.onnx"))
        monkeypatch.setattr("phantom_edge.export.targets.qnn.lint.graphs_of", lambda _, wrong=wrong: {"decoder": wrong})
        assert run(bundle).exit_code == 0
        done = run(bundle, "--strict")
        words = " ".join(done.stdout.split())
        assert done.exit_code == 1 and rule in words and "wrong: runs, and computes something else" in words
        assert share in done.stderr and f"decoder: {rule} is broken, and something else is computed" in done.stderr

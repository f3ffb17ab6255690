"""What Qualcomm's compiler takes and gets wrong, shown in its simulator beside the form that we draw; lint tells it.

A test that fails here because a faulty graph came out right is good news: the rule can go, once older compilers have.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from qualcomm_bundles import write_bundle, write_desk
from typer.testing import CliRunner

pytest.importorskip("onnxruntime_qnn")

import onnxruntime as ort

from phantom_edge.bundle.folder import Bundle
from phantom_edge.cli.main import app
from phantom_edge.export.linting import lint_bundle as lint
from phantom_edge.export.targets.onnx.nodes import Graph
from phantom_edge.export.targets.qnn.chips import OLDER, SOCS
from phantom_edge.export.targets.qnn.compiling import placed_elsewhere
from phantom_edge.export.targets.qnn.engine import is_simulated, open_session
from phantom_edge.export.targets.qnn.lint import RULES, beside, broken, graphs_of

pytestmark = pytest.mark.skipif(not is_simulated(), reason="the simulator of Qualcomm's processor is for Linux on x86")

CHIP = SOCS["sm8650"]
ROWS, WIDTH = 64, 128
RIGHT, WRONG = 45.0, 20.0
"""Decibels of signal to noise: what a graph in 16 bits has at least, and what one has at most that computes else."""

FALLBACK = "assigned to the default CPU EP"
FLOAT, UINT16, INT4 = TensorProto.FLOAT, TensorProto.UINT16, TensorProto.INT4

Array = NDArray[Any]
Encoding = tuple[str, str]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, WIDTH)).astype(np.float32)
HEADS = RNG.normal(size=(4, 16, 32)).astype(np.float32)
WEIGHT = (RNG.normal(size=(WIDTH, WIDTH)) * 0.1).astype(np.float32)
GAMMA = RNG.uniform(0.5, 1.5, WIDTH).astype(np.float32)


@dataclass
class Net:
    """A graph in the making, and what it is fed."""

    opset: int = 23
    nodes: list[Any] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    fed: dict[str, Array] = field(default_factory=dict)

    def hold(self, value: Any, kind: int | None = None) -> str:
        name, array = f"held{len(self.held)}", np.asarray(value)
        self.held.append(
            numpy_helper.from_array(array, name)
            if kind is None
            else helper.make_tensor(name, kind, array.shape, array.flatten().tolist())
        )
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        name = f"{kind}{len(self.nodes)}"
        names = [f"{name}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, **attributes))
        return names

    def input(self, value: Array, name: str = "x", shape: Any = None) -> str:
        self.fed[name] = value
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape or value.shape))
        return name

    def output(self, name: str, kind: int = FLOAT, called: str = "") -> None:
        if called:
            (made,) = (node for node in self.nodes if name in node.output)
            made.output[:] = [called]
            for node in self.nodes:
                node.input[:] = [called if one == name else one for one in node.input]
        self.outputs.append(helper.make_tensor_value_info(called or name, kind, None))

    def encoding(self, low: float, high: float, dtype: Any = np.uint16) -> Encoding:
        """Signed integers lie around zero."""
        ends = np.iinfo(dtype)
        if ends.min < 0:
            return self.hold(np.float32(max(-low, high) / ends.max)), self.hold(dtype(0))
        scale = np.float32((high - low) / ends.max)
        return self.hold(scale), self.hold(dtype(round(-low / scale)))

    def fixed(self, x: str, about: Encoding) -> str:
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *about), *about)

    def reach(self, x: str, low: float, high: float, dtype: Any = np.uint16) -> str:
        return self.fixed(x, self.encoding(low, high, dtype))

    def start(self, value: Array = X, name: str = "x", dtype: Any = np.uint16) -> str:
        return self.reach(self.input(value, name), min(float(value.min()), 0), float(value.max()), dtype)

    def end(self, y: str, low: float, high: float, dtype: Any = np.uint16) -> "Net":
        self.output(self.reach(y, low, high, dtype))
        return self

    def static(self, value: Any, dtype: Any = np.uint16, moved: bool = False) -> str:
        """A constant; ``moved``: signed integers have a zero point."""
        array, ends = np.asarray(value, np.float32), np.iinfo(dtype)
        if ends.min < 0 and not moved:
            scale, zero = np.float32(np.abs(array).max() / ends.max), 0
        else:
            low = min(float(array.min()), 0)
            scale = np.float32((float(array.max()) - low) / (int(ends.max) - int(ends.min)))
            zero = round(ends.min - low / scale)
        integers = np.clip(np.round(array / scale) + zero, ends.min, ends.max).astype(dtype)
        return self.op("DequantizeLinear", self.hold(integers), self.hold(scale), self.hold(dtype(zero)))

    def ints(self, *values: int) -> str:
        return self.hold(np.array(values, np.int64))

    @property
    def model(self) -> Any:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.held)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=11))

    def save(self, path: Path) -> Path:
        onnx.save(self.model, path)
        return path

    def expected(self) -> list[Array]:
        """What ONNX Runtime's CPU computes, node by node."""
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(self.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found: list[Array] = session.run(None, self.fed)
        return found

    def decibels(self) -> float:
        """Signal to noise of the simulator, every node placed, beside the CPU: that of the worst output."""
        found = open_session(self.model.SerializeToString(), CHIP.number, CHIP.arch).run(None, self.fed)
        return min(map(decibels, self.expected(), found))


def decibels(want: Array, got: Array) -> float:
    noise = np.square(want.astype(np.float64) - got).sum()
    return 10 * float(np.log10(np.square(want.astype(np.float64)).sum() / max(noise, 1e-30)))


def ends(array: Array) -> tuple[float, float]:
    return min(float(array.min()), 0.0), max(float(array.max()), 0.0)


# The form that we draw first, then the faulty one, of every rule.


def product(four: str, kind: int = INT4) -> Net:
    """By a weight in 4 bits: ``four`` says for what there is a scale, and whether there are zero points."""
    net = Net()
    x = net.start()
    shape: tuple[int, ...] = {"row": (WIDTH,), "tensor": (), "block": (WIDTH // 32, WIDTH)}[four.split()[0]]
    blocks = WEIGHT.reshape(-1, 32, WIDTH) if len(shape) == 2 else WEIGHT[None]
    size = np.abs(blocks).max((0, 1, 2) if not shape else 1, keepdims=True) / 7
    integers = np.clip(np.round(blocks / size), -8, 7).astype(int).reshape(WEIGHT.shape)
    zero = 0 if kind == INT4 else 8
    inputs = [net.hold(integers + zero, kind), net.hold(size.astype(np.float32).reshape(shape))]
    if four.endswith("zero"):
        inputs.append(net.hold(np.full(shape, zero), kind))
    places = ({}, {"axis": 1}, {"axis": 0, "block_size": 32})[len(shape)]
    y = net.op("MatMul", x, net.op("DequantizeLinear", *inputs, **places))
    return net.end(y, *ends(X @ WEIGHT * 1.2))


def layer_norm(dtype: Any, bias: str = "", moved: bool = False, acts: Any = np.uint16) -> Net:
    net = Net()
    x, scale = net.start(dtype=acts), net.static(GAMMA, dtype, moved)
    inputs = [x, scale]
    if bias == "int32":
        steps = [numpy_helper.to_array(net.held[place]) for place in (0, 3)]  # of x and of the scale
        step = np.float32(steps[0] * steps[1])
        whole = np.round(GAMMA / step).astype(np.int32)
        inputs.append(net.op("DequantizeLinear", net.hold(whole), net.hold(step), net.hold(np.int32(0))))
    elif bias:
        inputs.append(net.static(GAMMA, np.dtype(bias).type))
    return net.end(net.op("LayerNormalization", *inputs, axis=-1, epsilon=1e-5), -6, 8, acts)


def rms_norm(x: Array, form: str, dtype: Any = np.uint16) -> Net:
    """As one operator, or drawn of squares, with a division or with Reciprocal."""
    net = Net()
    mean = np.square(x).mean(-1, keepdims=True)
    root = np.sqrt(mean)
    normed = x / root
    read = net.start(x)
    if form == "one":
        y = net.op("RMSNormalization", read, net.static(GAMMA, dtype), axis=-1, epsilon=1e-9)
        return net.end(y, *ends(normed * GAMMA))
    squares = net.reach(net.op("Mul", read, read), *ends(np.square(x)))
    kept = net.reach(net.op("ReduceMean", squares, net.ints(-1), keepdims=1), *ends(mean))
    below = net.reach(net.op("Sqrt", net.reach(net.op("Add", kept, net.static(1e-9)), *ends(mean))), *ends(root))
    if form == "divided":
        y = net.op("Div", read, below)
    else:
        y = net.op("Mul", read, net.reach(net.op("Reciprocal", below), *ends(1 / root)))
    return net.end(net.op("Mul", net.reach(y, *ends(normed)), net.static(GAMMA)), *ends(normed * GAMMA))


def inverse(high: float, form: str = "Reciprocal") -> Net:
    net = Net()
    x = RNG.uniform(high / 4, high, size=X.shape).astype(np.float32)
    read = net.start(x)
    y = net.op("Reciprocal", read) if form == "Reciprocal" else net.op("Div", net.static(1.0), read)
    return net.end(y, *ends(1 / x))


def bounded_output(kind: str, low: float, high: float) -> Net:
    net = Net()
    net.output(net.op("QuantizeLinear", net.op(kind, net.start()), *net.encoding(low, high)), UINT16)
    return net


def activations(dtype: Any, moved: bool = False) -> Net:
    """A product of two of them."""
    net = Net()
    x = net.start(HEADS)
    y = net.input(HEADS.transpose(0, 2, 1).copy(), "y")
    about = net.encoding(-5, 5, dtype)
    y = net.fixed(y, (about[0], net.hold(dtype(3))) if moved else about)
    return net.end(net.op("MatMul", x, y), -40, 80)


def cached(new: float = 8.0, past: float = 8.0) -> Net:
    """A row of a cache goes out as it came in; both reach as far as is said."""
    net = Net()
    about = net.encoding(-past, past)
    rows = net.op("DequantizeLinear", net.input(integers(4, 16, 32), "past_key.0"), *about)
    net.end(net.op("Sigmoid", rows), 0, 1)
    about = about if new == past else net.encoding(-new, new)
    x = net.op("QuantizeLinear", net.op("Gelu", net.start(HEADS)), *about)
    net.output(x, UINT16, called="new_key.0")
    return net


def integers(*shape: int) -> Array:
    return RNG.integers(0, 2**16, shape).astype(np.uint16)


def turned(how: str) -> Net:
    """Integers that go out behind a Transpose: read by a product, too, or alone; or they came in as such."""
    net = Net()
    about = net.encoding(-8, 8)
    if how == "in":
        x = net.op("DequantizeLinear", net.input(integers(4, 16, 32)), *about)
        net.output(net.op("QuantizeLinear", net.op("Transpose", x, perm=[0, 2, 1]), *about), UINT16)
        return net
    x, y = net.fixed(net.input(HEADS), about), net.fixed(net.input(HEADS, "y"), about)
    if how == "headed":
        heads = net.fixed(net.op("Reshape", x, net.ints(16, 4, 32)), about)
        x = net.fixed(net.op("Transpose", heads, perm=[1, 0, 2]), about)
    if how == "before":
        net.output(net.op("QuantizeLinear", net.op("Mul", x, x), *about), UINT16)
        other = net.fixed(net.op("Transpose", x, perm=[0, 2, 1]), about)
    else:
        out = net.op("QuantizeLinear", net.op("Transpose", x, perm=[0, 2, 1]), *about)
        net.output(out, UINT16)
        other = net.op("DequantizeLinear", out, *about)
    if how != "alone":
        other = other if how == "behind" else net.reach(other, -8, 8, np.int16)
        net.end(net.op("MatMul", y, other), -40, 80)
    return net


def float_norm(is_weight_first: bool, squares: str = "Pow") -> Net:
    """RMSNorm in float32, as torch writes it."""
    net = Net()
    x, weight = net.input(X), net.hold(GAMMA)
    two = net.op("Mul", x, x) if squares == "Mul" else net.op("Pow", x, net.hold(np.float32(2)))
    mean = net.op("Add", net.op("ReduceMean", two, net.ints(-1), keepdims=1), net.hold(np.float32(1e-6)))
    normed = net.op("Mul", x, net.op("Reciprocal", net.op("Sqrt", mean)))
    net.output(net.op("Mul", weight, normed) if is_weight_first else net.op("Mul", normed, weight))
    return net


def microsoft(kind: str) -> Net:
    """An operator of ONNX Runtime's own."""
    net = Net()
    if kind == "GroupQueryAttention":
        half = HEADS.astype(np.float16)[:1]  # (1, 16, 32) rows of one head
        query, key, value = (net.input(half[:, :4], name) for name in "qkv")
        past = [net.input(half[None], name) for name in ("past_key", "past_value")]
        counts = [net.hold(np.array([3], np.int32)), net.hold(np.array(4, np.int32))]
        found = net.ops(kind, 3, query, key, value, *past, *counts, domain="com.microsoft", num_heads=1, kv_num_heads=1)
        for one in found:
            net.output(one, TensorProto.FLOAT16)
        return net
    x = net.fixed(net.input(X[None]), net.encoding(-5, 5))
    if kind == "RotaryEmbedding":
        angles = RNG.normal(size=(ROWS, WIDTH // 8)).astype(np.float32)
        tables = [net.hold(np.cos(angles)), net.hold(np.sin(angles))]
        y = net.op(kind, x, net.hold(np.arange(ROWS)[None]), *tables, domain="com.microsoft", num_heads=4)
    else:
        y = net.op(kind, x, x, net.static(GAMMA, np.uint8), domain="com.microsoft", epsilon=1e-6)
    return net.end(y, -12, 12)


def rotated() -> Net:
    """By ONNX's own operator."""
    net = Net()
    x = net.fixed(net.input(X[None]), net.encoding(-5, 5))
    angles = RNG.normal(size=(1, ROWS, WIDTH // 8)).astype(np.float32)
    y = net.op("RotaryEmbedding", x, net.static(np.cos(angles)), net.static(np.sin(angles)), num_heads=4)
    return net.end(y, -7, 7)


def added(*shape: int, name: str = "") -> Net:
    """To itself; ``name`` is the first dimension's."""
    net = Net()
    value = RNG.uniform(-4, 4, shape).astype(np.float32)
    x = net.reach(net.input(value, shape=(name, *shape[1:]) if name else None), -4, 4)
    return net.end(net.op("Add", x, x), -8, 8)


def read_as(dtype: Any) -> Net:
    """Integers that come in."""
    net = Net()
    value = RNG.integers(0, 200, X.shape).astype(dtype)
    x = net.op("DequantizeLinear", net.input(value), net.hold(np.float32(0.02)), net.hold(dtype(0)))
    return net.end(net.op("Gelu", x), -1, 4)


def gap(is_closed: bool) -> Net:
    """Two operators, the first of which is rounded or is not."""
    net = Net()
    y = net.op("MatMul", net.start(), net.static(WEIGHT, np.uint8))
    if is_closed:
        y = net.reach(y, *ends(X @ WEIGHT * 1.2))
    return net.end(net.op("Sigmoid", y), 0, 1)


UNEVEN = (X * np.exp(np.random.default_rng(1).normal(size=(ROWS, 1)))).astype(np.float32)
"""Rows of different sizes, as hidden states are."""

Draw = Callable[[], Net]
CASES: dict[str, list[tuple[Draw, Draw]]] = {
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
    monkeypatch.setitem(globals(), "CHIP", OLDER["sm8450"])
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

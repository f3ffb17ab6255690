"""The interpreter of ExecuTorch programs: beside ExecuTorch, beside torch without rounding, on files that are off."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("executorch")

from executorch_programs import Loaded, program_of

from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.checkpoint.quantized.weights import Quantized
from phantom_edge.export.interpreters.pte import Interpreted, Interpreter
from phantom_edge.export.interpreters.pte.delegate import Delegate
from phantom_edge.export.interpreters.pte.importing import fused_operators, quantized_operators
from phantom_edge.export.interpreters.pte.kernels import custom_sdpa
from phantom_edge.export.interpreters.pte.payload import INPUT, NOBODY, XnnNode, read_payloads
from phantom_edge.export.interpreters.pte.program import Constant, Plain, Planned, Program, Value
from phantom_edge.export.targets.executorch.edge_program import Method, assembled, lowered
from phantom_edge.export.targets.executorch.linear import RoundedEmbedding, RoundedLinear, signed
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.quantize.rounding import nearest

SAME, EXACT = 1e-5, 1e-6
"""Of the largest number: sums in another order, beside ExecuTorch with its rounding; and beside torch without it."""

MOST = 20


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def held(rows: int, columns: int, scheme: str, seed: int = 1) -> Quantized:
    return nearest(numbers(rows, columns, seed=seed), SCHEMES[scheme])


def off(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    return float((found - wanted).abs().max() / wanted.abs().max())


def portable(module: nn.Module, *inputs: Tensor) -> bytes:
    """A program without any delegate."""
    fused_operators()
    quantized_operators()
    return assembled(lowered({"forward": Method(module, inputs)}, [], {}, lambda _: None, traced=False)).buffer


class Floats(nn.Module):
    """What a model computes in floats: a convolution, attention, a norm, a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, (4, 2), stride=(4, 2), padding=(2, 1))
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 8, bias=False)
        for number, parameter in enumerate(self.parameters()):
            parameter.data = numbers(*parameter.shape, seed=number) / 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).permute(0, 2, 1)[:, 1:]
        query, key, value = self.qkv(x).split(16, dim=-1)
        x = x + F.softmax(query @ key.permute(0, 2, 1) / 4, dim=-1) @ value
        x = torch.cat([x[..., 8:], F.gelu(x[..., :8])], dim=-1)
        x = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-5)
        x = torch.sigmoid(x) * torch.tanh(x) - torch.minimum(x.abs(), torch.exp(-x)) + torch.maximum(x, x * x)
        return self.out(x.abs() / (1 + x * x).sqrt())


class Two(nn.Module):
    """Layers of 8 bits in rows and of 4 bits in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = [held(32, 64, "int4-g32-pos"), held(8, 32, "int8")]
        self.first, self.second = RoundedLinear(self.weights[0], numbers(32, seed=5)), RoundedLinear(self.weights[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.gelu(self.first(x)) * 3)


class Cached(nn.Module):
    """Attention over a cache that is kept from run to run; two heads read one."""

    keys: Tensor
    values: Tensor

    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.window = window
        for name in ("keys", "values"):
            self.register_buffer(name, torch.zeros(1, MOST, 2, 8))
        self.register_buffer("places", torch.arange(MOST, dtype=torch.float32))

    def forward(self, x: Tensor, start_pos: Tensor) -> Tensor:
        tokens, start = x.shape[1], start_pos[0].item()
        for holds in (start >= 0, start < MOST, start + tokens <= MOST):
            torch._check(holds)
        query, key, value = x.view(1, tokens, 8, 8).split([4, 2, 2], dim=2)
        llama = torch.ops.llama
        llama.update_cache(key, self.keys, start)
        llama.update_cache(value, self.values, start)
        mask = None
        if self.window is not None:
            behind = self.places.narrow(0, start, tokens)[:, None] - self.places
            mask = torch.where((behind < 0) | (behind >= self.window), float("-inf"), 0.0)
        return llama.custom_sdpa(query, self.keys, self.values, start, mask, 0.0, mask is None, 0.3)


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of Two."""
    path = tmp_path_factory.mktemp("program") / "layers.pte"
    path.write_bytes(program_of(Two(), numbers(1, 9, 64), moving=((0, 1),), most=MOST).buffer)
    return path


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Programs of Floats, by XNNPACK and without."""
    folder, module, x = tmp_path_factory.mktemp("floats"), Floats().eval(), numbers(1, 3, 12, 10)
    for name, data in (("delegated", program_of(module, x).buffer), ("portable", portable(module, x))):
        (folder / f"{name}.pte").write_bytes(data)
    return {name: folder / f"{name}.pte" for name in ("delegated", "portable")}


def interpreted(path: Path, program: bytes):
    path.write_bytes(program)
    return Interpreter.open(path).method("forward")


@pytest.mark.parametrize("name", ["delegated", "portable"])
def test_floats_are_computed_as_executorch_does(name: str, floats: dict[str, Path]) -> None:
    x, method = numbers(1, 3, 12, 10), Interpreter.open(floats[name]).method("forward")
    wanted = Loaded(floats[name])(x)
    for rounds in (True, False):
        assert off(method.run([x], rounds=rounds)[0], wanted) < EXACT, rounds


@pytest.mark.parametrize("is_causal", [True, False])
def test_fused_attention_is_that_of_the_operator(is_causal: bool) -> None:
    """Rows that see one place more each, or all of them the last row's."""
    fused_operators()
    query, keys, values = (numbers(1, rows, 2, 8, seed=seed) for seed, rows in enumerate((7, MOST, MOST)))
    given = (query, keys, values, 5, None, 0.0, is_causal, 0.3)
    assert off(custom_sdpa(*given), torch.ops.llama.custom_sdpa(*given)) < EXACT


@pytest.mark.parametrize("scheme", ["int8", "int4-g32-pos"])
def test_layers_of_integers_with_and_without_rounding(scheme: str, tmp_path: Path) -> None:
    """Rows of different sizes, one of zeros, each with its own rounding. The exact one is far from the rounded one."""
    x = numbers(1, 9, 128) * torch.logspace(-3, 2, 9)[None, :, None]
    x[0, 4] = 0
    weight, bias = held(48, 128, scheme), numbers(48, seed=2)
    program = program_of(RoundedLinear(weight, bias), x, moving=((0, 1),), most=MOST).buffer
    method, theirs = interpreted(tmp_path / "a.pte", program), Loaded(program)
    for given in (x, x[:, 3:4].contiguous()):
        wanted = theirs(given)
        (found,), (exact,) = (method.run([given], rounds=rounds) for rounds in (True, False))
        assert all(off(one, other) < SAME for one, other in zip(found[0], wanted[0], strict=True))
        exactly = F.linear(given, weight.dequantize(), bias)
        assert all(off(one, other) < EXACT for one, other in zip(exact[0], exactly[0], strict=True))
        assert off(exact, wanted) > 100 * SAME


def test_layers_of_integers_outside_of_a_delegate(tmp_path: Path) -> None:
    x, weight = numbers(1, 3, 64), held(24, 64, "int8")
    program = portable(RoundedLinear(weight), x)
    method = interpreted(tmp_path / "a.pte", program)
    assert off(method.run([x], rounds=True)[0], Loaded(program)(x)) < SAME
    assert off(method.run([x], rounds=False)[0], F.linear(x, weight.dequantize())) < EXACT
    (found,) = method.weights()
    assert torch.equal(found.weight, weight.dequantize())


@pytest.mark.parametrize("scheme", ["int8", "int4-g32"])
def test_embeddings_of_integers_are_their_rows(scheme: str, tmp_path: Path) -> None:
    table, ids = held(50, 64, scheme), torch.tensor([[0, 49, 7, 7]])
    method = interpreted(tmp_path / "a.pte", program_of(RoundedEmbedding(table), ids).buffer)
    assert torch.equal(method.run([ids], rounds=False)[0][0], table.dequantize()[ids[0]])
    (found,) = method.weights()
    assert torch.equal(found.integers, signed(table)) and torch.equal(found.scales, table.scales.float())
    with pytest.raises(EdgeError, match="50 rows"):
        method.run([ids + 1], rounds=False)


@pytest.mark.parametrize("window", [None, 3])
def test_what_a_method_keeps_it_keeps_until_it_is_reset(window: int | None, tmp_path: Path) -> None:
    fused_operators()
    x = numbers(1, MOST, 64)
    program = program_of(
        Cached(window), x[:, :7].contiguous(), torch.zeros(1, dtype=torch.int64), moving=((0, 1),), most=MOST - 1
    ).buffer
    method, theirs = interpreted(tmp_path / "a.pte", program), Loaded(program)
    found = []
    for start, end in ((0, 5), (5, 6), (6, 19), (19, 20), (2, 4)):  # to the last place, and back
        given = [x[:, start:end].contiguous(), torch.tensor([start])]
        found.append(method.run(given, rounds=False)[0])
        assert off(found[-1], theirs(*given)) < EXACT, start
    second = [x[:, 5:6].contiguous(), torch.tensor([5])]
    assert off(method.run(second, rounds=False)[0], found[1]) < EXACT
    method.reset()
    assert off(method.run(second, rounds=False)[0], found[1]) > 0.01
    for start in (-1, MOST, 2**40):
        with pytest.raises(EdgeError):
            method.run([second[0], torch.tensor([start])], rounds=False)


def test_integers_and_scales_are_those_of_the_checkpoint(layers: Path) -> None:
    for found, wanted in zip(Interpreter.open(layers).weights(), Two().weights, strict=True):
        assert np.array_equal(found.integers.numpy().astype(np.int64), signed(wanted).numpy().astype(np.int64))
        assert torch.equal(found.scales, wanted.scales.float())
        assert torch.equal(found.weight, wanted.dequantize())


def run(path: Path) -> None:
    program = Interpreter.open(path)
    program.weights()
    program.method("forward").run([numbers(1, 5, 64)], rounds=True)


def test_damaged_files_are_told_in_a_line(layers: Path, tmp_path: Path) -> None:
    """Cut anywhere, overwritten anywhere: a result or an EdgeError, and nothing else."""
    data, path = layers.read_bytes(), tmp_path / "damaged.pte"
    draw, refused = random.Random(0), 0
    behind = int.from_bytes(data[16:24], "little")  # where the program ends and numbers begin
    for case in range(80):
        damaged = bytearray(data)
        if case % 4 == 0:
            del damaged[draw.randrange(len(data)) :]
        elif case % 4 == 1:
            start = draw.randrange(behind - 8)
            damaged[start : start + 4] = draw.choice([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\1\0\0\0"])
        else:
            for _ in range(draw.choice([1, 3, 300])):
                damaged[draw.randrange(behind if case % 4 == 2 else len(data))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            run(path)
        except EdgeError as error:
            assert "\n" not in error.problem, case
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("data", [b"", b"garbage", bytes(100), b"\0\0\0\0ET12" + bytes(100), None])
def test_other_files_are_refused(data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "a.pte").write_bytes(data)
    with pytest.raises(EdgeError, match=r"a\.pte"):
        Interpreter.open(tmp_path / "a.pte")


def test_half_a_file_is_damaged(layers: Path, tmp_path: Path) -> None:
    data = layers.read_bytes()
    (tmp_path / "a.pte").write_bytes(data[: len(data) // 2])
    with pytest.raises(EdgeError, match="is damaged"):
        Interpreter.open(tmp_path / "a.pte")


class Clamped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x * 2, -0.25, 0.5)


class Unusual(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, 0.7)


@pytest.mark.parametrize(("module", "named"), [(Clamped(), "XNNClamp|XNNMultiply"), (Unusual(), "XNNLeakyReLU")])
def test_unknown_nodes_are_refused_by_name(module: nn.Module, named: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=named):
        interpreted(tmp_path / "a.pte", program_of(module, numbers(1, 3, 64)).buffer)


def test_unknown_operators_are_refused_by_name(tmp_path: Path) -> None:
    program = portable(nn.GELU(), numbers(1, 3))
    assert program.count(b"aten::gelu") == 1
    interpreted(tmp_path / "a.pte", program)
    for other in (b"aten::gulu", b"nets::gelu"):
        with pytest.raises(EdgeError, match=other.decode()):
            interpreted(tmp_path / "a.pte", program.replace(b"aten::gelu", other))


def changed(data: bytes) -> bytes:
    """The same with a bit of its first byte but two turned."""
    return data[:2] + bytes([data[2] ^ 0x10]) + data[3:]


def test_every_constant_of_a_payload_counts(layers: Path) -> None:
    """An integer, a scale, a number of a bias: whichever is changed, the result is another."""
    program, x = Interpreter.open(layers).program, numbers(1, 5, 64)
    (before,) = Interpreter(program).method("forward").run([x], rounds=False)
    assert len(program.named) == 5
    for key, data in program.named.items():
        faulty = replace(program, named={**program.named, key: changed(data)})
        (after,) = Interpreter(faulty).method("forward").run([x], rounds=False)
        assert off(after, before) > 10 * EXACT, key
        shorter = replace(program, named={**program.named, key: data[:-1]})
        with pytest.raises(EdgeError, match="bytes and needs"):
            Interpreter(shorter).method("forward")
    with pytest.raises(EdgeError, match="is damaged"):
        Interpreter(replace(program, named={})).method("forward")


def with_value(program: Program, number: int, value: Value) -> Program:
    method = program.methods["forward"]
    values = (*method.values[:number], value, *method.values[number + 1 :])
    return replace(program, methods={"forward": replace(method, values=values)})


def with_args(program: Program, step: int, args: Sequence[int]) -> Program:
    method = program.methods["forward"]
    new = replace(method.steps[step], args=tuple(args))
    steps = (*method.steps[:step], new, *method.steps[step + 1 :])
    return replace(program, methods={"forward": replace(method, steps=steps)})


def unnoticed(faults: Mapping[str, Callable[[], Interpreted]], x: Tensor) -> list[str]:
    """Faults with which a program still runs and computes the same as without, which is the first of them."""
    found: dict[str, Tensor] = {}
    for what, faulty in faults.items():
        try:
            (found[what],) = faulty().run([x], rounds=False)
        except EdgeError:
            continue
    before, *rest = found
    return [
        one for one in rest if found[one].shape == found[before].shape and off(found[one], found[before]) < 10 * EXACT
    ]


def test_every_part_of_an_instruction_counts(floats: dict[str, Path]) -> None:
    """Every number that is written out is made another, every tensor that is read is exchanged, every call left out."""
    program = Interpreter.open(floats["portable"]).program
    method = program.methods["forward"]
    faults = {"none": program}
    for number, value in enumerate(method.values):
        if isinstance(value, Plain) and type(value.value) in (int, float):
            faults[f"{number} {value}"] = with_value(program, number, Plain(value.value + 1))
        if isinstance(value, Constant):
            faults[f"constant {number}"] = with_value(program, number, Constant(value.tensor * 1.5 + 1))
    for number, step in enumerate(method.steps):
        steps = method.steps[:number] + method.steps[number + 1 :]
        faults[f"without {step}"] = replace(program, methods={"forward": replace(method, steps=steps)})
        for place, old in enumerate(step.args[:-2]):
            if isinstance(method.values[old], Planned | Constant):
                args = [*step.args[:place], method.inputs[0], *step.args[place + 1 :]]
                faults[f"{place} of {step}"] = with_args(program, number, args)
    made = {what: partial(Interpreter(faulty).method, "forward") for what, faulty in faults.items()}
    assert len(made) > 150
    found = unnoticed(made, numbers(1, 3, 12, 10))
    assert len(found) == 2, found  # what a convolution adds to its output, if it is a transposed one


def test_every_part_of_a_node_counts(floats: dict[str, Path]) -> None:
    """The same inside of payloads; what is read becomes the payload's first input."""
    program = Interpreter.open(floats["delegated"]).program
    method = program.methods["forward"]
    graphs = read_payloads(method.payloads, program.named)

    def with_node(place: int, number: int, *nodes: XnnNode) -> Interpreted:
        graph = graphs[place]
        new = replace(graph, nodes=(*graph.nodes[:number], *nodes, *graph.nodes[number + 1 :]))
        return Interpreted(method, [Delegate(new if graph is one else one) for one in graphs])

    faults: dict[str, Callable[[], Interpreted]] = {"none": partial(Interpreter(program).method, "forward")}
    for place, graph in enumerate(graphs):
        first = next(number for number, value in graph.values.items() if value.flags == INPUT)
        for number, node in enumerate(graph.nodes):
            faults[f"without {node}"] = partial(with_node, place, number)
            for old in set(node.inputs) - {first, NOBODY}:
                inputs = tuple(first if one == old else one for one in node.inputs)
                faults[f"{old} of {node}"] = partial(with_node, place, number, replace(node, inputs=inputs))
            for name, value in node.about.items():
                new = value + 4 if isinstance(value, int) else value[::-1]
                changed_node = replace(node, about={**node.about, name: new})
                if new != value:
                    faults[f"{name} of {node}"] = partial(with_node, place, number, changed_node)
    assert len(faults) > 80
    found = unnoticed(faults, numbers(1, 3, 12, 10))
    assert len(found) == 2 and all("MatrixMultiply" in one for one in found), found  # of a view in its own shape


def test_inputs_that_do_not_fit_are_refused(layers: Path) -> None:
    method = Interpreter.open(layers).method("forward")
    wrong = [[], [numbers(1, 5, 63)], [numbers(5, 64)], [numbers(1, 5, 64).double()], [numbers(1, MOST + 1, 64)]]
    for inputs in wrong:
        with pytest.raises(EdgeError):
            method.run(inputs, rounds=False)
    with pytest.raises(EdgeError, match="no method backward"):
        Interpreter.open(layers).method("backward")
    nothing = replace(method.method, outputs=method.method.inputs[:0], steps=())
    assert Interpreted(nothing, []).run([numbers(1, 5, 64)], rounds=False) == []


def test_plain_values_are_read(layers: Path) -> None:
    """Whatever is neither tensor nor list is a number, as the file has it."""
    values = Interpreter.open(layers).program.methods["forward"].values
    assert all(isinstance(one.value, int | float | bool | None) for one in values if isinstance(one, Plain))

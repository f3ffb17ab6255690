"""Every rule is broken by what it speaks of and kept by its neighbour; multiply-adds are those counted by hand."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_checkpoints import write_checkpoint
from typer.testing import CliRunner

pytest.importorskip("coremltools")

from export_settings import settings_for
from mil_programs import FP16, FP32, INT32, mb, package, types
from target_bundles import CHUNK, CONTEXT, shared_bundle

from phantom_edge.bundle.folder import read_manifest
from phantom_edge.bundle.manifest import MANIFEST, UNSEALED
from phantom_edge.bundle.seal import sealed
from phantom_edge.cli.main import app
from phantom_edge.export.interpreters.mil import Package
from phantom_edge.export.linting import lint_bundle as lint
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.coreml.lint.nodes import Node, nodes, weight_bytes
from phantom_edge.export.targets.coreml.lint.operations import (
    GATHER,
    LISTED,
    NATIVE,
    NO_PATH,
    RECURRENT,
    SORT,
    TRIGONOMETRIC,
)
from phantom_edge.export.targets.coreml.lint.rules import RULES
from phantom_edge.export.targets.coreml.lint.sources import ELIGIBLE
from phantom_edge.export.targets.coreml.lint.work import multiply_adds
from phantom_edge.export.targets.coreml.options import Compute
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.shipped import NANO


@dataclass(frozen=True)
class Program:
    """A body over ``x``, and over a ``cache`` of state or ``start`` (int32) where their shapes are given."""

    body: Callable[..., Any]
    shape: tuple[int, ...]
    dtype: Any = FP16
    ios: int = 18
    state: tuple[int, ...] | None = None
    start: tuple[int, ...] | None = None

    def package(self, path: Path) -> Package:
        inputs = {"x": (self.shape, self.dtype)}
        if self.start is not None:
            inputs["start"] = (self.start, INT32)
        states = None if self.state is None else {"cache": (self.state, FP16)}
        return package(path, inputs, self.body, self.ios, states)


@dataclass(frozen=True)
class Case:
    """What breaks a rule, and its neighbour that keeps it."""

    rule: str
    bad: Program
    good: Program


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float16)


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def relu(x: Any) -> Any:
    return mb.relu(x=x)


def blockwise(*groups: int) -> Any:
    """A weight (64, 32)."""
    return mb.constexpr_blockwise_shift_scale(data=np.ones((64, 32), np.int8), scale=ones(*groups))


def affine() -> Any:
    return mb.constexpr_affine_dequantize(
        quantized_data=np.ones((64, 32), np.int8), scale=ones(64), zero_point=np.int8(0), axis=np.int32(0)
    )


def palette(levels: int) -> Any:
    indices = np.zeros((64, 32), np.uint8)
    if levels == 16:
        indices = indices.astype(types.np_uint4_dtype)
    return mb.constexpr_lut_to_dense(indices=indices, lut=np.zeros((1, 1, levels, 1), np.float16))


def kept(x: Any, cache: Any) -> Any:
    return mb.mul(x=x, y=mb.read_state(input=cache))


def linear(weight: Callable[[], Any], *shape: int, **more: Any) -> Program:
    """A product with a weight (64, 32) that exists only while the program is made."""
    if "state" in more:
        return Program(lambda x, cache: mb.linear(x=kept(x, cache), weight=weight()), shape or (1, 32, 32), **more)
    return Program(lambda x: mb.linear(x=x, weight=weight()), shape or (1, 32, 32), **more)


FLAT = (1, 64, 1, 32)
PLAIN = Program(relu, FLAT)
FLOAT = linear(lambda: ones(64, 32))


def blocking() -> Iterator[Case]:
    yield Case("formats", Program(relu, FLAT, FP32), PLAIN)
    yield Case("formats", Program(lambda x: mb.add(x=x, y=whole(1)), FLAT, INT32), PLAIN)
    yield Case("formats", Program(lambda x: mb.cast(x=x, dtype="fp32"), FLAT), PLAIN)
    yield Case("flexible", Program(lambda x: mb.non_zero(x=x), FLAT), PLAIN)
    summed = Program(lambda x: mb.reduce_sum(x=x, axes=[1]), FLAT)
    yield Case("no-path", Program(lambda x: mb.reduce_prod(x=x, axes=[1]), FLAT), summed)
    scattered = Program(
        lambda x: mb.scatter_nd(data=x, indices=whole(0)[None], updates=ones(1, 32), validate_indices=False), (4, 32)
    )
    yield Case("no-path", scattered, PLAIN)
    cell = {"initial_h": (1, 4), "weight_ih": (4, 4), "weight_hh": (4, 4)}
    weights = {name: np.ones(shape, np.float32) for name, shape in cell.items()}
    yield Case("recurrent", Program(lambda x: list(mb.rnn(x=x, **weights)), (3, 1, 4), FP32, ios=15), PLAIN)
    cut = Program(lambda x: mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, 2, 1, 32]), FLAT)
    yield Case("gather", Program(lambda x: mb.gather(x=x, indices=whole(0, 5), axis=1), FLAT), cut)
    yield Case("sort", Program(lambda x: list(mb.topk(x=x, k=2, axis=1)), FLAT), summed)
    for long, fits in (
        ((1, 1, 1, 16385), (1, 1, 1, 16384)),
        ((1, 1, 16385, 32), (1, 16385, 1, 32)),
        ((1, 65537, 1, 32), (1, 65536, 1, 32)),
        ((1, 16385), (16385, 1, 1, 32)),
    ):
        yield Case("extent", Program(relu, long), Program(relu, fits))
    for too_large, fits in (((1, 14), (1, 13)), ((30, 1), (29, 1))):
        yield Case("kernel", convolution(*too_large), convolution(*fits))
    for axis in (1, -1):
        yield Case("argmax", largest(2049, axis), largest(2048, axis))
    yield Case("deep-product", squared(1, 2, 2, 32, 32), squared(1, 1, 2, 32, 32))
    yield Case(
        "deep-product", linear(lambda: ones(64, 32), 1, 1, 2, 32, 32), linear(lambda: ones(64, 32), 1, 2, 32, 32)
    )
    for groups in ((64, 2), (32, 1), (1, 32), (2, 2)):
        bad = linear(lambda groups=groups: blockwise(*groups))  # type: ignore[misc]
        yield Case("blocks-of-weights", bad, linear(lambda: blockwise(64, 1)))
    for turned, good, bad_groups in ((False, (1, 32), (64, 1)), (True, (64, 1), (1, 32))):
        shape = (1, 32, 32 if turned else 64)
        yield Case("blocks-of-weights", multiplied(bad_groups, turned, shape), multiplied(good, turned, shape))
    yield Case("state-rows", Program(kept, (1, 48), state=(1, 48)), Program(kept, (1, 64), state=(1, 64)))


def convolution(*kernel: int) -> Program:
    return Program(lambda x: mb.conv(x=x, weight=ones(2, 4, *kernel)), (1, 4, 32, 64))


def largest(size: int, axis: int) -> Program:
    return Program(lambda x: mb.reduce_argmax(x=x, axis=axis), (1, size))


def squared(*shape: int) -> Program:
    return Program(lambda x: mb.matmul(x=x, y=x), shape)


def multiplied(groups: tuple[int, ...], turned: bool, shape: tuple[int, ...]) -> Program:
    return Program(lambda x: mb.matmul(x=x, y=blockwise(*groups), transpose_y=turned), shape)


def slowing() -> Iterator[Case]:
    fixed = Program(lambda x: mb.slice_by_size(x=x, begin=[1, 0], size=[2, 32]), (4, 32))
    moving = Program(lambda x, start: mb.slice_by_size(x=x, begin=start, size=[2, 32]), (4, 32), start=(2,))
    yield Case("runtime-slices", moving, fixed)
    place = {"begin": [0, 0], "end": [1, 32]}
    written = Program(lambda x: mb.slice_update(x=x, update=ones(1, 32), **place), (4, 32))
    moving = Program(
        lambda x, start: mb.slice_update(x=x, update=ones(1, 32), **place | {"begin": start}), (4, 32), start=(2,)
    )
    yield Case("runtime-slices", moving, written)
    fused = Program(lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x), (1, 2, 32, 32))
    yield Case("fused-attention", fused, squared(1, 2, 32, 32))
    conv = Program(lambda x: mb.conv(x=x, weight=ones(4, 64, 1, 1)), FLAT)
    yield Case("no-conv", FLOAT, conv)
    yield Case("no-conv", linear(lambda: blockwise(64, 1)), conv)
    yield Case("no-conv", Program(lambda x: mb.matmul(x=x, y=ones(32, 64)), (1, 32, 32)), squared(1, 32, 32))
    yield Case("last-axis-of-one", Program(relu, (1, 64, 1, 1)), Program(relu, (1, 64, 1, 2)))
    yield Case("short-last-axis", Program(relu, (1, 64, 1, 31)), PLAIN)
    yield Case("short-last-axis", Program(relu, (1, 64, 1, 2)), Program(relu, (1, 64, 1, 1)))
    yield Case("many-channels", Program(relu, (1, 16385, 1, 32)), Program(relu, (1, 16384, 1, 32)))
    yield Case("odd-factors", tiled(7), tiled(6))
    yield Case("odd-factors", unshuffled(14), unshuffled(16))
    yield Case("trigonometry", Program(lambda x: mb.cos(x=x), FLAT), Program(lambda x: mb.erf(x=x), FLAT))
    yield Case("minus-infinity", masked(-np.inf), masked(-4e4))
    for groups in ((64, 1), (1, 1)):
        bad = linear(lambda groups=groups: blockwise(*groups))  # type: ignore[misc]
        yield Case("integer-weights", bad, linear(lambda: blockwise(64, 2)))
    yield Case("integer-weights", linear(affine, ios=17), FLOAT)
    yield Case("small-palettes", linear(lambda: palette(16)), linear(lambda: palette(256)))
    row = (1, 32)
    yield Case("small-palettes", linear(lambda: palette(16)), linear(lambda: palette(16), *row, state=row))
    yield Case(
        "small-palettes-and-state",
        linear(lambda: palette(16), *row, state=row),
        linear(lambda: palette(256), *row, state=row),
    )


def tiled(times: int) -> Program:
    return Program(lambda x: mb.tile(x=x, reps=[1, 1, 1, times]), FLAT)


def unshuffled(factor: int) -> Program:
    return Program(
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(factor)), (1, 3, 32 * factor, 32 * factor)
    )


def masked(low: float) -> Program:
    return Program(lambda x: mb.add(x=x, y=np.full((1, 1, 1, 32), low, np.float16)), FLAT)


CASES = [*blocking(), *slowing()]


def read(package: Package) -> list[Node]:
    return [node for function in package.functions.values() for node in nodes(package, function)]


def broken(found: list[Node]) -> set[str]:
    return {rule.name for rule in RULES for node in found if rule.is_broken(node)}


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case.rule}" for number, case in enumerate(CASES)])
def test_a_rule_is_broken_and_its_neighbour_is_not(case: Case, tmp_path: Path) -> None:
    assert case.rule in broken(read(case.bad.package(tmp_path / "bad.mlpackage")))
    assert case.rule not in broken(read(case.good.package(tmp_path / "good.mlpackage")))


def test_every_rule_has_a_case_and_a_source() -> None:
    alone = {"package-size", "rank", "unlisted"}  # below
    assert {case.rule for case in CASES} | alone == {rule.name for rule in RULES}
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.what and rule.sources
        assert all(source.title and source.url.startswith("https://") for source in rule.sources)
        if "conflict" in rule.note:
            assert rule.severity == "slows" and len(rule.sources) > 1, rule.name


def test_types_are_in_one_list() -> None:
    lists = (NATIVE, NO_PATH, RECURRENT, GATHER, SORT, TRIGONOMETRIC)
    assert sum(map(len, lists)) == len(LISTED)


def test_what_coremltools_itself_does_not_write(tmp_path: Path) -> None:
    """Types and ranks that it refuses, and a package of more than a GiB."""
    made = FLOAT.package(tmp_path / "p.mlpackage")
    (node,) = read(made)
    assert weight_bytes(made) == node.place.weight_bytes == (64 * 32 + 64) * 2  # the bias is always there
    assert "unlisted" in broken([replace(node, type="custom_layer")])
    for rank, is_too_deep in ((5, False), (6, True)):
        deep = replace(node, outputs=(replace(node.outputs[0], shape=(1,) * rank),))
        assert ("rank" in broken([deep])) is is_too_deep
    for size, is_too_large in ((2**30, False), (2**30 + 1, True)):
        heavy = replace(node, place=replace(node.place, weight_bytes=size))
        assert ("package-size" in broken([heavy])) is is_too_large


def test_multiply_adds_of_single_operations(tmp_path: Path) -> None:
    def body(x: Any) -> list[Any]:
        image = mb.reshape(x=x, shape=[1, 4, 8, 8], name="image")
        return [
            image,
            mb.linear(x=x, weight=ones(3, 32), name="linear"),
            mb.matmul(x=x, y=ones(32, 5), name="matmul"),
            mb.matmul(x=x, y=ones(2, 4, 7), transpose_x=True, name="turned"),
            mb.conv(x=image, weight=ones(6, 2, 3, 1), groups=2, strides=[2, 2], pad_type="valid", name="conv"),
            mb.conv_transpose(x=image, weight=ones(4, 6, 2, 2), name="transposed"),
            mb.einsum(values=[image, ones(1, 8, 8, 9)], equation="nchw,nwhu->nchu", name="einsum"),
            mb.scaled_dot_product_attention(query=x, key=ones(2, 7, 32), value=ones(2, 7, 10), name="attention"),
        ]

    made = package(tmp_path / "p.mlpackage", {"x": ((2, 4, 32), FP16)}, body)
    assert {node.name: multiply_adds(node) for node in read(made)} == {
        "image": 0,
        "linear": 2 * 4 * 3 * 32,
        "matmul": 2 * 4 * 5 * 32,
        "turned": 2 * 32 * 7 * 4,
        "conv": (6 * 3 * 4) * (2 * 3 * 1),
        "transposed": (4 * 8 * 8) * (6 * 2 * 2),
        "einsum": 4 * 8 * 8 * 9,
        "attention": 2 * 4 * 7 * (32 + 10),
    }


def exported(folder: Path, model: Path, compute: Compute) -> Path:
    settings = settings_for("coreml", max_context=CONTEXT, prefill_chunk=CHUNK, compute=compute)
    export_bundle(str(model), "coreml", folder, settings, prove=False)
    return folder


@pytest.fixture(scope="module")
def ane(place: Path) -> Path:
    return shared_bundle(place, "coreml-ane").path


@pytest.fixture(scope="module")
def gpu(place: Path) -> Path:
    return shared_bundle(place, "coreml-gpu").path


def by_hand(compute: Compute) -> dict[str, int]:
    """Multiply-adds of nano: all that its config and kept ranks (all 32 of 32) say."""
    config = PhantomConfig.from_pretrained(NANO)
    text, vision = config.text, config.vision
    hidden, dim, heads, kv_heads = text.hidden_size, text.head_dim, text.num_attention_heads, text.num_key_value_heads
    looked = vision.hidden_size
    patches = vision.patches_per_side**2
    block = looked * (4 * looked + 2 * vision.intermediate_size) * (patches + 1) + 2 * (patches + 1) ** 2 * looked
    pixels = patches * 3 * vision.patch_size**2 * looked
    projector = patches // 4 * (4 * looked + hidden) * hidden
    found = {"vision": pixels + vision.num_hidden_layers * block + projector}
    head = hidden * text.vocab_size
    for part, tokens in (("decoder", 1), ("prefill", CHUNK)):
        rows = CONTEXT if compute == "gpu" else CONTEXT + tokens  # the cache holds new rows already, or does not yet
        dense = 2 * hidden * dim * (heads + kv_heads) + 3 * hidden * text.intermediate_size
        maps = heads * (dim + 2 * heads) * dim + 2 * kv_heads * (dim + 2 * kv_heads) * dim
        attention = heads * rows * 2 * (2 * dim)
        gate = heads * 2 * dim
        found[part] = text.num_hidden_layers * tokens * (dense + maps + attention + gate)
    return {**found, "decoder": found["decoder"] + head, "head": head}


@pytest.mark.parametrize("compute", ["ane", "gpu"])
def test_multiply_adds_of_nano_are_those_of_its_config(compute: Compute, request: pytest.FixtureRequest) -> None:
    report = lint(request.getfixturevalue(compute))
    assert {name: part.multiply_adds for name, part in report.parts.items()} == by_hand(compute)


def test_the_ane_profile_is_eligible(ane: Path, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "tiny")
    padded = {"last-axis-of-one", "short-last-axis"}
    for folder, known in (
        (ane, padded),
        (exported(tmp_path / "out", tmp_path / "tiny", "ane"), padded | {"odd-factors"}),  # patches of 14
    ):
        report = lint(folder)
        assert report.compute == "ane" and report.placement == ELIGIBLE
        assert set(report.parts) == {"vision", "prefill", "decoder", "head"}
        assert all(part.share >= 0.99 and part.eligible == part.operations for part in report.parts.values())
        assert {one.rule for one in report.findings} == known
    operators = read_manifest(ane).parts
    assert {name: part.operations for name, part in lint(ane).parts.items()} == {
        name: sum(part.operators.values()) for name, part in operators.items()
    }


def test_the_gpu_profile_is_told_what_is_not(gpu: Path) -> None:
    report = lint(gpu)
    found = {one.rule: one for one in report.findings}
    layers = PhantomConfig.from_pretrained(NANO).text.num_hidden_layers
    assert {name for name, one in found.items() if one.severity == "blocks"} == {"formats", "kernel"}
    assert found["kernel"].parts == {"vision": 1} and found["kernel"].examples == ("vision: conv_0",)
    # places of new rows: two for the function, one for each cache
    assert found["formats"].parts == {"decoder": 2 + 2 * layers, "prefill": 2 + 2 * layers}
    assert found["runtime-slices"].parts == {"decoder": 2 * layers, "prefill": 2 * layers}
    assert {"fused-attention", "no-conv"} <= set(found)
    assert report.parts["vision"].share < 0.99 < report.parts["decoder"].share
    assert all(len(one.examples) <= 3 for one in report.findings)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["lint", *map(str, arguments)])


def test_the_command_prints_tables_and_says_that_eligible_is_not_placed(ane: Path) -> None:
    done = run(ane)
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    for told in (ELIGIBLE, "share eligible", "last-axis-of-one", "https://", "Eligible is not placed", "MLComputePlan"):
        assert told in words, told
    help_ = run("--help")
    assert help_.exit_code == 0 and "--strict" in help_.stdout and "--least" in help_.stdout


def test_json_is_one_document(gpu: Path) -> None:
    done = run(gpu, "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert set(document) == {"bundle", "compute", "parts", "findings", "placement"}
    assert document["placement"] == ELIGIBLE
    for part in document["parts"].values():
        assert set(part) == {"operations", "eligible", "multiply_adds", "eligible_multiply_adds", "share"}
    for one in document["findings"]:
        keys = {"rule", "severity", "what", "note", "sources", "parts", "multiply_adds", "examples"}
        assert set(one) == keys and one["severity"] in ("blocks", "slows")
        assert all(set(source) == {"title", "url"} for source in one["sources"])


def test_strict(ane: Path, gpu: Path) -> None:
    assert run(ane, "--strict").exit_code == 0
    assert run(gpu).exit_code == 0
    done = run(gpu, "--strict", "--json")
    assert done.exit_code == 1 and json.loads(done.stdout)["parts"]
    assert "vision: 95.5 % of the multiply-adds are eligible, less than 99.0 %" in done.stderr
    assert "decoder:" not in done.stderr
    assert run(gpu, "--strict", "--least", 0.9).exit_code == 0
    assert run(gpu, "--least", 1.5).exit_code == 2


def test_what_is_no_bundle_of_coreml_is_told_in_a_line(ane: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    document = json.loads((ane / MANIFEST).read_text(encoding="utf-8")) | {"target": "onnx", "seal": UNSEALED}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (other / MANIFEST).write_text(sealed(text), encoding="utf-8")
    for folder, told in (
        (other, "lint has rules for coreml, jetson, qnn and litert; "),
        (tmp_path / "nothing", "there is no folder"),
        (tmp_path, "is no bundle"),
    ):
        done = run(folder)
        assert done.exit_code == 1 and not done.stdout, done.output
        assert [told in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True], done.stderr
    with pytest.raises(EdgeError, match="made for target onnx"):
        lint(other)

"""Integers are what the scheme says, come back from disk as they went, and mean the same in every file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from export_settings import settings_for
from golden_checkpoints import add_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from random_checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file
from stored_weights import compare_weights, onnx_weights
from torch import Tensor

from phantom_edge.bundle.manifest import Manifest
from phantom_edge.bundle.proof import STAGES
from phantom_edge.checkpoint.loading import matrices, open_checkpoint
from phantom_edge.checkpoint.quantized.files import QUANTIZATION, QuantizedFiles
from phantom_edge.checkpoint.quantized.inputs import Inputs
from phantom_edge.checkpoint.quantized.schemes import SCHEMES, Scheme
from phantom_edge.checkpoint.quantized.weights import Quantized, packed, unpacked
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.linear import LinearDrawing
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.generate import load
from phantom_edge.models.shipped import NANO
from phantom_edge.models.tensor_names import DECODER, EMBEDDING, HEAD, PARTS
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import Recipe, Rule, read_recipe
from phantom_edge.quantize.rounding import nearest, round_to, scales_of
from phantom_edge.quantize.solvers import fitted, gptq
from phantom_edge.runtime.rows import Rows

ort = pytest.importorskip("onnxruntime")

SCALED = [scheme for scheme in SCHEMES.values() if scheme.palette_rows is None]


def weight(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Rows of all sizes, some numbers far out, one group of zeros."""
    random = torch.Generator().manual_seed(seed)
    found = torch.randn(rows, columns, generator=random) * torch.rand(rows, 1, generator=random).mul(8).sub(6).exp2()
    found[:, 0] *= 10
    found[0, :16] = 0
    return found


POSITIVE = [scheme for scheme in SCHEMES.values() if scheme.positive]


@given(st.sampled_from(POSITIVE), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_positive_scales_are_what_every_runtime_holds(scheme: Scheme, rows: int, groups: int, seed: int) -> None:
    """Above 0, and the same number in float16 and in bfloat16, whatever finds them; covering lose no less."""
    numbers = weight(rows, groups * (scheme.group or 32), seed)
    covering = scales_of(numbers, scheme)[0]
    covered = Quantized(scheme, round_to(numbers, scheme, covering, None), covering.half())
    lost, at_most = (
        (one.dequantize() - numbers).square().view(*covering.shape, -1).sum(-1)
        for one in (nearest(numbers, scheme), covered)
    )
    assert bool((lost <= at_most).all())
    for found in (nearest(numbers, scheme), fitted(numbers, scheme, None), gptq(numbers, scheme, numbers.T @ numbers)):
        assert bool((found.scales > 0).all())
        assert torch.equal(found.scales.bfloat16().float(), found.scales.float())


COVERING = [scheme for scheme in SCALED if not (scheme.positive or scheme.exact8)]
"""Schemes whose scales cover a whole group; others are least squares, which may clip."""


@given(st.sampled_from(COVERING), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_nearest_is_within_half_a_step(scheme: Scheme, rows: int, groups: int, seed: int) -> None:
    columns = groups * (scheme.group or 37)
    exact = weight(rows, columns, seed)
    found = nearest(exact, scheme)
    grouped = exact.view(rows, found.scales.shape[1], -1)
    steps = found.scales.float().abs()[..., None]
    assert found.scales.dtype == torch.float16 and found.scales.shape == (rows, scheme.groups(columns))
    assert found.integers.dtype == torch.uint8 and int(found.integers.max()) < scheme.levels
    # a float16 scale is up to 2**-11 too small, which the integer furthest out pays for
    slack = 1 + (scheme.levels + 2) * 2.0**-10
    off = (found.dequantize().view_as(grouped) - grouped).abs()
    shifted = 1 if not scheme.symmetric else 0  # a zero point is rounded, too, and what it moves out is cut
    # symmetric ones have one level less on one side: a number there as large as the largest is a whole step off
    lopsided = 0.5 if scheme.symmetric and scheme.bits != 8 else 0
    assert bool((off <= steps * (0.5 * slack + 0.5 * shifted + lopsided * slack) + 1e-9).all())
    assert bool((found.dequantize()[exact == 0] == 0).all())


@given(st.sampled_from(SCALED), st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_dequantize_rounds_nothing(scheme: Scheme, rows: int, groups: int, seed: int) -> None:
    """Integers beside float16 scales are exact in float32, so every target that multiplies gets the same numbers."""
    found = nearest(weight(rows, groups * (scheme.group or 48), seed), scheme)
    double = replace(found, scales=found.scales.double())
    integers = double.integers.view(rows, found.scales.shape[1], -1).double()
    zeros = scheme.middle if found.zero_points is None else found.zero_points.double()[..., None]
    assert torch.equal(found.dequantize().double(), ((integers - zeros) * double.scales[..., None]).view(rows, -1))


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_packing_turns_back(rows: int, columns: int, seed: int) -> None:
    integers = torch.randint(0, 16, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    assert torch.equal(unpacked(packed(integers), columns), integers)


class OneWeight:
    """As QuantizedFiles, with one weight."""

    def __init__(self, name: str, held: Quantized) -> None:
        self.held, self.schemes = held, {name: held.scheme}
        self.about = SimpleNamespace(inputs={name: Inputs(2**-6, 64)})  # from -1 to 3

    def quantized(self, _name: str) -> Quantized:
        return self.held


@pytest.mark.parametrize("opset_only", [False, True])
@given(st.sampled_from(SCALED), st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_file_and_the_runtime_hold_these_numbers(
    tmp_path_factory: pytest.TempPathFactory, opset_only: bool, scheme: Scheme, rows: int, groups: int, seed: int
) -> None:
    """Read from the file, and asked of ONNX Runtime: the identity times the weight, where each sum has one term."""
    columns = groups * (scheme.group or 56)
    held = nearest(weight(rows, columns, seed), scheme)
    files = cast(QuantizedFiles, OneWeight("w", held))
    drawing = LinearDrawing("one", torch.float32, dict.__getitem__, files, opset_only=opset_only)
    x = drawing.input("x", ("N", columns))
    drawing.output(drawing.linear(x, "w", ["w"], [rows], columns), "y", ("N", rows))
    folder = tmp_path_factory.mktemp("one")
    drawing.save(folder / "one.onnx", "one.data")
    want = held.dequantize().numpy()
    assert np.array_equal(onnx_weights(folder / "one.onnx")["w"], want)

    from phantom_edge.export.targets.onnx.exact import ExactEngine

    engine = ExactEngine.__new__(ExactEngine)
    engine.ort, engine.threads = ort, 1
    engine.manifest = cast(Manifest, SimpleNamespace(cache=SimpleNamespace(dtype="float32"), integers=None))
    (found,) = engine._session(folder / "one.onnx").run(None, {"x": np.eye(columns, dtype=np.float32)})
    assert np.array_equal(found.T, want)
    assert set(drawing.opsets) == ({""} if opset_only else {"", "com.microsoft"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights at full phantom strength."""
    return write_checkpoint(tmp_path_factory.mktemp("quantize") / "checkpoint")


def quantized(checkpoint: Path, name: str, recipe: Recipe) -> Path:
    out = checkpoint.parent / name
    if not out.exists():
        quantize_checkpoint(checkpoint, recipe, out, name=name)
    return out


TEXT = ("decoder", "embedding", "head")
TWO_FORMS = 8
"""Linear layers of two decoder layers."""
RECIPES = {
    "int4": Recipe(dict.fromkeys(TEXT, "int4-g32")),
    "int8": Recipe(dict.fromkeys(TEXT, "int8")),
    "int4-asym": Recipe(dict.fromkeys(TEXT, "int4-g32-asym")),
    "int4-row": Recipe({"decoder": "int4-pos", "embedding": "int8"}),
    "int4-exact8": Recipe({"decoder": "int4-g32-exact8", "embedding": "int8", "head": "int8"}),
    "vision": Recipe(
        {"decoder": "int4-g32", "vision": "int8", "projector": "int8"},
        rules=(
            Rule(r".*vision_tower\.layers\.1\.mlp.*", "int4-g32"),
            Rule(r".*vision_tower\.layers\.0\.mlp.*", "float"),
        ),
    ),
    "int3": Recipe({"decoder": "int3-g32", "embedding": "int4-g32"}),
    "several": Recipe(
        {"decoder": "int4-g32"},
        rules=(
            Rule(r".*\.v_proj\.weight", "int8"),
            Rule(r".*layers\.1\.mlp\.gate_proj\.weight", "float"),
            Rule(r".*layers\.0\.self_attn\.q_proj\.weight", "float"),
            Rule(r".*phantom_key\.k_proj\.weight", "int8"),
        ),
    ),
}


@pytest.mark.parametrize("opset_only", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_a_bundle_holds_the_integers_and_computes_with_them(name: str, opset_only: bool, checkpoint: Path) -> None:
    """Every weight bit for bit, embedding included; and all stages against the dequantized reference."""
    folder = quantized(checkpoint, name, RECIPES[name])
    files = QuantizedFiles.open(folder)
    out, wanted = (
        checkpoint.parent / f"{name}-{opset_only}.bundle",
        settings_for("onnx", max_context=512, opset_only=opset_only),
    )
    bundle = export_bundle(str(folder), "onnx", out, wanted).bundle
    if name == "int4-exact8":
        assert bundle.manifest.parts["decoder"].operators.get("If", 0) == (0 if opset_only else TWO_FORMS)
    operators = {kind for part in bundle.manifest.parts.values() for kind in part.operators}
    own = operators & {"MatMulNBits", "MatMulIntegerToFloat"}
    assert bool(own) is not opset_only and ("DequantizeLinear" in operators) is opset_only
    of_the_graph = {name for name in files.schemes if "phantom" not in name and name != EMBEDDING}
    assert compare_weights(bundle, files) == of_the_graph
    proof = bundle.proof
    assert proof is not None and proof.passed and {check.stage for check in proof.checks} > set(STAGES)
    rows = Rows(bundle)[np.arange(bundle.manifest.embedding.rows)]
    assert np.array_equal(rows, files.read(EMBEDDING).float().numpy())
    engine = OrtEngine(bundle, 1)
    at_once, last = engine.forward(rows[:9], 0, np.array([8])), np.array([0])
    assert engine.forward(rows[:8], 0, np.array([], np.int64)).shape == (0, at_once.shape[1]), "of a chunk, none"
    assert np.abs(engine.forward(rows[8:9], 8, last) - at_once).max() < 0.05 * np.abs(at_once).max()


def test_a_tied_head_and_the_embedding_are_one_copy(tmp_path: Path) -> None:
    quantize_checkpoint(NANO, RECIPES["int4"], tmp_path / "nano", name="int4")
    files = QuantizedFiles.open(tmp_path / "nano")
    for opset_only, place in ((False, "decoder.data"), (True, "embedding.data")):
        wanted, out = settings_for("onnx", opset_only=opset_only), tmp_path / f"bundle-{opset_only}"
        bundle = export_bundle(str(tmp_path / "nano"), "onnx", out, wanted, prove=False).bundle
        assert compare_weights(bundle, files) == files.schemes.keys() and bundle.manifest.embedding.file == place
        rows = Rows(bundle)[np.arange(bundle.manifest.embedding.rows)]
        assert np.array_equal(rows, files.read(EMBEDDING).numpy())


@pytest.mark.parametrize("name", ["0_5b-tied-1.0", "1_8b-1.0", "7b-1.0"])
def test_tied_and_untied_in_the_official_layout(name: str, golden: Any, tmp_path: Path) -> None:
    """Weights that the official layout fuses are quantized apart, as the model has them."""
    g = golden(name)
    add_tokenizer(g)
    quantize_checkpoint(g.folder, Recipe(dict.fromkeys(PARTS, "int8")), tmp_path / "out", name="int8")
    config, files, _ = open_checkpoint(tmp_path / "out")
    assert isinstance(files, QuantizedFiles) and (HEAD in files.schemes) is not config.tie_word_embeddings
    state = g.model.state_dict()
    for weight_name in files.schemes:
        assert torch.equal(files.read(weight_name), nearest(state[weight_name], SCHEMES["int8"]).dequantize())


def test_a_quantized_checkpoint_is_a_checkpoint(checkpoint: Path) -> None:
    """Loaded, its weights are the dequantized ones, and what no part names is as it was."""
    folder = quantized(checkpoint, "int4", RECIPES["int4"])
    model, _ = load(str(folder))
    state, files = model.state_dict(), QuantizedFiles.open(folder)
    before = open_checkpoint(checkpoint)[1]
    for name in matrices(model.config):
        assert torch.equal(state[name], files.read(name).float()), name
        assert (name in files.schemes) is not torch.equal(state[name], before.read(name).float()), name
    assert not any("phantom" in name or "self_attn.gate" in name for name in files.schemes)


def test_verify_beside_the_float_checkpoint_tells_and_asks_nothing(checkpoint: Path) -> None:
    folder = quantized(checkpoint, "int4", RECIPES["int4"])
    bundle = export_bundle(
        str(folder), "onnx", checkpoint.parent / "quality", Settings(max_context=128), prove=False
    ).bundle
    proof = verify(bundle, Source.open(checkpoint))
    assert proof.passed and all(check.bound is None for check in proof.checks)
    assert max(check.value or 0 for check in proof.checks if check.stage == "prefill") > 1e-2


def damaged(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return damage


def cut(tensors: dict[str, Tensor], name: str, index: tuple[Any, ...]) -> None:
    tensors[name] = tensors[name][index].clone()


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        document = json.loads((folder / QUANTIZATION).read_text())
        change(document)
        (folder / QUANTIZATION).write_text(json.dumps(document))

    return edit


ONE = f"{DECODER}layers.0.mlp.up_proj.weight"


def rounded_by_bfloat16(folder: Path) -> None:
    damaged(lambda t: t[f"{ONE}.scales"].fill_(1 + 2**-10))(folder)
    edited(lambda d: d["weights"][ONE].update(positive=True))(folder)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no scales": (damaged(lambda t: t.pop(f"{ONE}.scales")), "lacks its integers, scales"),
    "zero points": (
        damaged(lambda t: t.update({f"{ONE}.zero_points": t[f"{ONE}.scales"].to(torch.uint8)})),
        "too many",
    ),
    "short rows": (
        damaged(lambda t: t.update({f"{ONE}.integers": t[f"{ONE}.integers"][:, :-1].clone()})),
        "do not fit",
    ),
    "few scales": (damaged(lambda t: cut(t, f"{ONE}.scales", (slice(1, None),))), "do not fit"),
    "floats": (damaged(lambda t: t.update({f"{ONE}.integers": t[f"{ONE}.integers"].float()})), "parts of F32"),
    "a vector": (damaged(lambda t: cut(t, f"{ONE}.integers", (0,))), "no matrices"),
    "NaN": (damaged(lambda t: t[f"{ONE}.scales"].fill_(float("nan"))), "numbers that its scheme does not have"),
    "a negative scale": (
        edited(lambda d: d["weights"][ONE].update(positive=True)),
        "numbers that its scheme does not have",
    ),
    "a scale that bfloat16 rounds": (rounded_by_bfloat16, "numbers that its scheme does not have"),
    "zero scales": (damaged(lambda t: t[f"{ONE}.scales"].zero_()), "numbers that its scheme does not have"),
    "another weight": (edited(lambda d: d["weights"].pop(ONE)), "belongs to no part of the model"),
    "no such bits": (edited(lambda d: d["weights"][ONE].update(bits=5)), "bits is 5"),
    "no such group": (edited(lambda d: d["weights"][ONE].update(group=0)), "group is 0"),
    "another group": (edited(lambda d: d["weights"][ONE].update(group=64)), "do not fit"),
    "the future": (edited(lambda d: d.update(schema_version=2)), "schema_version is 2"),
    "not JSON": (lambda folder: (folder / QUANTIZATION).write_text("{"), "cannot be read"),  # type: ignore[dict-item]
    "gone": (lambda folder: (folder / QUANTIZATION).unlink(), "is missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_ones_are_refused(name: str, checkpoint: Path, tmp_path: Path) -> None:
    damage, complaint = DAMAGE[name]
    shutil.copytree(quantized(checkpoint, "int4", RECIPES["int4"]), tmp_path / "damaged")
    damage(tmp_path / "damaged")
    with pytest.raises(EdgeError, match=complaint):
        load(str(tmp_path / "damaged"))


def test_a_recipe_with_a_mark_of_byte_order(tmp_path: Path) -> None:
    text = '[parts]\ndecoder = "int8"\n'
    for name, encoding in (("plain", "utf-8"), ("marked", "utf-8-sig")):
        (tmp_path / f"{name}.toml").write_text(text, encoding=encoding)
    plain, marked = (read_recipe(str(tmp_path / f"{name}.toml")) for name in ("plain", "marked"))
    assert marked == plain


BAD: dict[str, tuple[str, str]] = {
    "no such part": ('[parts]\nlegs = "int8"', "legs is no part"),
    "no such scheme": ('[parts]\ndecoder = "int5"', "there is no scheme 'int5'"),
    "groups that do not divide": ('[parts]\nvision = "int4-g128"', "groups of 128 do not divide rows of"),
    "no such algorithm": ('algorithm = "magic"\n[parts]\ndecoder = "int8"', "algorithm is 'magic'"),
    "nothing to do": ('[parts]\ndecoder = "float"', "leaves every weight as it is"),
    "a rule for nothing": ('[parts]\ndecoder = "int8"\n[[rules]]\nmatch = "x"\nscheme = "int8"', "fits no weight"),
    "no expression": ('[parts]\ndecoder = "int8"\n[[rules]]\nmatch = "("\nscheme = "int8"', "no regular expression"),
    "half a rule": ('[parts]\ndecoder = "int8"\n[[rules]]\nmatch = "x"', "scheme is missing"),
    "unknown": ('speed = "high"\n[parts]\ndecoder = "int8"', "speed is not known"),
    "not TOML": ("[parts", "Expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_recipes(name: str, checkpoint: Path, tmp_path: Path) -> None:
    text, complaint = BAD[name]
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(EdgeError, match=complaint):
        quantize_checkpoint(checkpoint, read_recipe(str(tmp_path / "mine.toml")), tmp_path / "out", name="mine")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_quantized(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("int2", "no/such.toml"):
        with pytest.raises(EdgeError, match=r"no recipe|is missing"):
            read_recipe(name)
    with pytest.raises(EdgeError, match="is quantized already"):
        quantize_checkpoint(
            quantized(checkpoint, "int4", RECIPES["int4"]), RECIPES["int8"], tmp_path / "twice", name="int8"
        )
    shutil.copytree(checkpoint, tmp_path / "nan")
    damaged(lambda tensors: tensors[ONE].fill_(float("nan")))(tmp_path / "nan")
    with pytest.raises(EdgeError, match=r"up_proj.weight.* holds NaN"):
        quantize_checkpoint(tmp_path / "nan", RECIPES["int8"], tmp_path / "out", name="int8")
    assert not (tmp_path / "out").exists()

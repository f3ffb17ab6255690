"""Target web: the graphs of both engines compute the model, from the integers of all other targets.

They run in ONNX Runtime on the CPU here; test_web_programs.py runs them in WASM, and a browser is for apps/web.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from bundles import export_onnx, manifest_edit, resealed
from command_line import edge_inside
from export_settings import settings_for
from jsonschema import Draft202012Validator
from standalone_reader import Reader, Refusal
from stored_weights import compare_weights

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.golden import read_golden
from phantom_edge.bundle.manifest import MANIFEST
from phantom_edge.bundle.work import work_of
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.manifest_schema import manifest_schema
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.onnx.engine import OrtEngine
from phantom_edge.export.targets.onnx.exact import ExactEngine
from phantom_edge.export.targets.web.engine import FirstRowEngine
from phantom_edge.export.targets.web.facts import WebFacts, forms_of
from phantom_edge.export.targets.web.lower import settle
from phantom_edge.export.targets.web.proving import ExactFirstRowEngine
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.shipped import NANO
from phantom_edge.models.sizes import SIZES
from phantom_edge.models.tensor_names import EMBEDDING
from phantom_edge.profile.plan.counting import Form, count
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.rows import Rows
from phantom_edge.runtime.sampling import Sampling

pytest.importorskip("onnxruntime")

SAMPLE = Path(__file__).parents[1] / "apps/samples/00000/00009002.png"
RECIPES = ("fp32", "int8", "int4", "mixed")
PARTS = {
    "fp32": ("vision", "decoder", "vision", "decoder"),
    "int8": ("vision", "decoder", "vision_webgpu", "decoder_webgpu"),
    "int4": ("vision", "decoder", "vision_webgpu", "decoder"),
    "mixed": ("vision", "decoder", "vision_webgpu", "decoder_webgpu"),
}
"""Parts of WASM and of WebGPU: one where both are the same graph."""

BYTES = {"MatMulIntegerToFloat", "QuantizeLinear", "MatMulInteger", "DynamicQuantizeLinear"}
"""Operators that WebGPU lacks."""


T = TypeVar("T")


class Made(dict[str, T]):
    """Things that are made when they are asked for by name."""

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> T:
        self[name] = self.make(name)
        return self[name]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Made[Path]:
    desk = tmp_path_factory.mktemp("checkpoints")

    def make(name: str) -> Path:
        if name != "fp32":
            quantize_checkpoint(NANO, read_recipe(name), desk / name, name=name)
        return NANO if name == "fp32" else desk / name

    return Made(make)


@pytest.fixture(scope="module")
def bundles(checkpoints: Made[Path], tmp_path_factory: pytest.TempPathFactory) -> Made[Bundle]:
    """Nano in every format, proved by export itself."""
    desk = tmp_path_factory.mktemp("web")
    return Made(lambda name: export(checkpoints[name], desk / name))


@pytest.fixture(scope="module")
def plain(checkpoints: Made[Path], tmp_path_factory: pytest.TempPathFactory) -> Made[Bundle]:
    """The same for target onnx."""
    desk = tmp_path_factory.mktemp("onnx")
    return Made(lambda name: export_onnx(checkpoints[name], desk / name, max_context=192, max_tiles=1))


def export(checkpoint: Path, out: Path, *, prove: bool = True, **settings: Any) -> Bundle:
    wanted = settings_for("web", **{"max_context": 192, "max_tiles": 1, **settings})
    return export_bundle(str(checkpoint), "web", out, wanted, prove=prove).bundle


def logits(engine: OrtEngine, bundle: Bundle, sizes: tuple[int, ...] = (5, 1, 30)) -> Any:
    """Logits at every position of a prompt of any tokens, fed in chunks."""
    ids = np.random.default_rng(0).integers(0, bundle.manifest.model.vocab_size, sum(sizes))
    ids[0], start, found = bundle.manifest.prompt.first_token, 0, []
    for size in sizes:
        found.append(engine.forward(engine.embed(ids[start : start + size]), start, np.arange(size)))
        start += size
    return np.concatenate(found)


def difference(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("name", RECIPES)
def test_a_bundle_is_proved_in_both_forms(name: str, bundles: Made[Bundle]) -> None:
    """Every stage of every form; where activations are rounded, once more without."""
    bundle = Bundle.open(bundles[name].path)
    facts, proof = bundle.facts(WebFacts), bundle.proof
    assert tuple(part for form in facts.engines.values() for part in (form.vision, form.decoder)) == PARTS[name]
    assert proof is not None and proof.passed and bundle.verified
    stages = {"vision", "prefill", "decode"}
    wanted = stages if name == "fp32" else stages | {f"exact {stage}" for stage in stages}
    for engine in ("wasm", "webgpu"):
        checks = [check for check in proof.checks if check.form == engine]
        assert {check.stage for check in checks} == wanted
        assert all(check.bound == 1e-4 for check in checks if "exact" in check.stage and "relative" in check.measure)
    assert len(proof.by_stage()) == len({(check.stage, check.case, check.form) for check in proof.checks})


@pytest.mark.parametrize("name", RECIPES[1:])
def test_integers_are_the_checkpoints(name: str, bundles: Made[Bundle], checkpoints: Made[Path]) -> None:
    """Bit for bit in every graph, and in the rows of every table: so they are those of all other targets."""
    bundle, files = bundles[name], QuantizedFiles.open(checkpoints[name])
    table = files.quantized(EMBEDDING).dequantize().numpy()
    for form in forms_of(bundle).values():
        graphs = [part.file for part in form.manifest.parts.values()]
        assert compare_weights(bundle, files, graphs) == files.schemes.keys()
        assert np.array_equal(Rows(form)[np.arange(len(table))], table)


@pytest.mark.parametrize("name", RECIPES[1:])
def test_each_engine_has_the_operators_that_it_is_quick_at(name: str, bundles: Made[Bundle]) -> None:
    forms = forms_of(bundles[name])
    wasm, webgpu = (forms[engine].manifest.parts for engine in ("wasm", "webgpu"))
    assert not BYTES & {kind for part in webgpu.values() for kind in part.operators}
    assert "DequantizeLinear" in webgpu["vision"].operators and "MatMulNBits" in webgpu["decoder"].operators
    assert "MatMulIntegerToFloat" in wasm["vision"].operators and "MatMulNBits" not in wasm["vision"].operators
    products = wasm["decoder"].operators.get("MatMulIntegerToFloat", 0)
    layers = bundles[name].manifest.model.layers
    assert products == {"int8": 4 * layers + 1, "int4": 0, "mixed": 2 * layers + 1}[name]
    assert ("MatMulNBits" in wasm["decoder"].operators) == (name != "int8")


@pytest.mark.parametrize("name", RECIPES)
def test_it_computes_what_target_onnx_computes(name: str, bundles: Made[Bundle], plain: Made[Bundle]) -> None:
    """WASM sees by the very graph; logits without rounding of activations differ in their last bits, by both forms."""
    forms = forms_of(bundles[name])
    same = {file: forms["wasm"].manifest.files[file].sha256 for file in ("vision.onnx", "vision.data")}
    assert same == {file: plain[name].manifest.files[file].sha256 for file in same}
    wanted = logits(ExactEngine(plain[name]), plain[name])
    for engine, form in forms.items():
        kind = ExactEngine if engine == "wasm" else ExactFirstRowEngine
        assert difference(logits(kind(form), form), wanted) < 1e-5, engine


@pytest.mark.parametrize("name", ["fp32", "int8"])
def test_it_answers(name: str, bundles: Made[Bundle], plain: Made[Bundle]) -> None:
    sessions = [open_session(one.path) for one in (bundles[name], plain[name])]
    texts = ["".join(one.ask("What is the price?", [SAMPLE])) for one in sessions]
    assert texts[0] and texts[0] == texts[1]


@pytest.mark.parametrize("sizes", [(36,), (1, 1, 34), (5, 1, 30), (1, 35)])
def test_a_cache_may_begin_with_the_first_row(sizes: tuple[int, ...], bundles: Made[Bundle]) -> None:
    """Whatever the chunks, and whether logits of the first token are wanted or not."""
    form = forms_of(bundles["fp32"])["webgpu"]
    wanted = logits(OrtEngine(form), form, (36,))
    engine = FirstRowEngine(form)
    assert difference(logits(engine, form, sizes), wanted) < 1e-5
    ids = np.array([form.manifest.prompt.first_token, 7, 9])
    for keep in ([], [0], [2], [1, 2], [2, 0]):
        found = engine.forward(engine.embed(ids), 0, np.array(keep, np.int64))
        expected = OrtEngine(form).forward(engine.embed(ids), 0, np.array(keep, np.int64))
        assert found.shape == expected.shape and np.abs(found - expected).max(initial=0) < 1e-3


def test_a_proof_reads_the_first_row(bundles: Made[Bundle], tmp_path: Path) -> None:
    """Rows of another token fail it, and in the form that begins with them alone."""
    folder = shutil.copytree(bundles["fp32"].path, tmp_path / "bundle")
    rows = np.fromfile(folder / "first_token.data", np.float32)
    (rows * np.float32(1.5)).tofile(folder / "first_token.data")
    resealed(folder)
    proof = verify(Bundle.open(folder), Source.open(NANO))
    assert {check.form for check in proof.checks if not check.passed} == {"webgpu"}
    assert {check.stage for check in proof.checks if not check.passed} == {"prefill", "decode"}


@pytest.mark.parametrize("engine", ["wasm", "webgpu"])
@pytest.mark.parametrize("name", ["fp32", "int8", "int4"])
def test_a_program_needs_the_listed_files_alone(name: str, engine: str, bundles: Made[Bundle], tmp_path: Path) -> None:
    """A reader written from the format's page, in a folder without all others, answers the golden questions."""
    bundle, golden = bundles[name], read_golden(bundles[name])
    form = bundle.facts(WebFacts).engines[engine]
    prompt = bundle.manifest.prompt
    for file in (MANIFEST, prompt.tokenizer, prompt.chat_template, *form.files):
        shutil.copy(bundle.path / file, tmp_path)
    reader, session = Reader(tmp_path, engine), open_session(bundle.path)
    for question in golden.questions:
        pictures = [bundle.file(golden.pictures[place].file) for place in question.pictures]
        found = reader.ask(question.question, pictures, question.max_new_tokens)
        assert found.prompt_tokens == len(question.ids)
        if name == "fp32" or engine == "wasm":  # other roundings may change a token that is nearly as likely
            assert found.text == "".join(session.ask(question.question, pictures, Sampling(question.max_new_tokens)))
    other = {"wasm": "webgpu", "webgpu": "wasm"}[engine]
    if form != bundle.facts(WebFacts).engines[other] and name != "fp32":
        with pytest.raises(Refusal, match="missing"):
            Reader(tmp_path, other)


@pytest.mark.parametrize("engines", ["wasm", "webgpu"])
def test_a_bundle_may_hold_one_form(engines: str, checkpoints: Made[Path], tmp_path: Path) -> None:
    bundle = export(checkpoints["int8"], tmp_path / "bundle", engines=engines, prove=False)
    assert set(bundle.manifest.parts) == {"vision", "decoder"} and list(forms_of(bundle)) == [engines]
    assert not list(bundle.path.glob("*_webgpu*"))
    kinds = {kind for part in bundle.manifest.parts.values() for kind in part.operators}
    assert ("MatMulIntegerToFloat" in kinds) == (engines == "wasm")
    assert "".join(open_session(bundle.path).ask("Who are you?"))


def test_float16_is_one_form_for_both(tmp_path: Path) -> None:
    bundle = export(NANO, tmp_path / "bundle", precision="fp16")
    assert set(bundle.manifest.parts) == {"vision", "decoder"} and bundle.verified
    assert {part.precision for part in bundle.manifest.parts.values()} == {"fp16"}
    assert "`shader-f16`" in (bundle.path / "README.md").read_text()


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "fp16 with bytes": ({"precision": "fp16"}, "int8", "WASM multiplies bytes beside floats of 32 bits"),
    "fixed scales": ({}, "w8a8", "is w8a8, whose inputs are rounded by fixed scales"),
    "palettes": ({}, "lut4-r16", "no operator of ONNX reads them"),
}


@pytest.mark.parametrize("name", WRONG)
def test_weights_that_an_engine_lacks_are_refused(name: str) -> None:
    settings, scheme, said = WRONG[name]
    config = PhantomConfig.from_pretrained(NANO)
    schemes = {"model.language_model.layers.0.mlp.down_proj.weight": SCHEMES[scheme]}
    with pytest.raises(EdgeError, match=said) as raised:
        settle(config, schemes, settings_for("web", **settings))
    assert "\n" not in raised.value.problem and raised.value.remedy
    if name == "palettes":
        return
    engines = "webgpu" if settings else "wasm"
    settle(config, schemes, settings_for("web", **settings, engines=engines))  # the remedy


def engine_edit(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return manifest_edit(lambda document: change(document["facts"]["engines"]))


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no engine": (manifest_edit(lambda d: d["facts"].update(engines={})), "engines is impossible"),
    "unknown engine": (engine_edit(lambda d: d.update(webnn=d["wasm"])), "engines is impossible"),
    "no facts": (manifest_edit(lambda d: d.update(facts={})), "facts.engines is missing"),
    "unknown part": (
        engine_edit(lambda d: d["webgpu"].update(vision="eyes")),
        "vision is 'eyes', which is not in parts",
    ),
    "unlisted file": (engine_edit(lambda d: d["wasm"]["files"].append("more.data")), "'more.data' is used but not in"),
    "files too few": (engine_edit(lambda d: d["wasm"]["files"].pop()), "wasm.files is not the list"),
    "files too many": (engine_edit(lambda d: d["wasm"]["files"].append("README.md")), "wasm.files is not the list"),
    "other table": (
        engine_edit(lambda d: d["wasm"]["embedding"].update(offset=64)),
        "is not that of facts.engines.wasm",
    ),
    "narrow table": (engine_edit(lambda d: d["webgpu"]["embedding"].update(width=96)), "embedding is impossible"),
    "swapped": (
        engine_edit(lambda d: d.update(wasm=d["webgpu"], webgpu=d["wasm"])),
        "is not that of facts.engines.wasm",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_manifest_that_contradicts_itself_is_refused(name: str, bundles: Made[Bundle], tmp_path: Path) -> None:
    damage, said = FAULTS[name]
    folder = shutil.copytree(bundles["int8"].path, tmp_path / "bundle")
    damage(folder)
    with pytest.raises(EdgeError, match=said) as raised:
        open_session(folder)
    assert "\n" not in raised.value.problem and raised.value.remedy


@pytest.mark.parametrize("name", RECIPES)
def test_a_manifest_is_what_its_schema_says(name: str, bundles: Made[Bundle]) -> None:
    document = json.loads((bundles[name].path / MANIFEST).read_text())
    validator = Draft202012Validator(manifest_schema())
    assert not list(validator.iter_errors(document))
    document["facts"]["engines"]["wasm"]["parts"] = []
    assert list(validator.iter_errors(document))


@pytest.mark.parametrize("weights", ["fp32", "int8", "int4", "mixed"])
def test_a_plan_counts_both_forms(weights: str, bundles: Made[Bundle]) -> None:
    """Bytes of weights, of what a page downloads, and of a token's rows, and multiply-adds, within 5 %."""
    target = TARGETS["web"]
    planned = [option for option in target.variants if option.weights == weights]
    forms = forms_of(bundles[weights])
    assert {option.arguments.removeprefix("--engines ") for option in planned} >= {"webgpu"}
    for option in planned:
        manifest = forms[option.arguments.removeprefix("--engines ")].manifest
        own = target if option.count is None else replace(target, count=option.count)
        counted = count(Form(SIZES["nano"], own, weights, 192))
        for name, value in vars(work_of(manifest)).items():
            assert getattr(counted.work, name) == pytest.approx(value, rel=0.05), (option, name)
        files = sum(file.bytes for name, file in manifest.files.items() if not name.endswith(".onnx"))
        assert counted.disk_bytes == pytest.approx(files, rel=0.05)  # graphs are the same for all sizes


def test_inspect_shows_what_a_page_loads(bundles: Made[Bundle]) -> None:
    bundle = bundles["int8"]
    ran = edge_inside("inspect", bundle.path, "--json")
    forms = json.loads(ran.stdout)["forms"]
    for engine, form in bundle.facts(WebFacts).engines.items():
        names = (*form.files, bundle.manifest.prompt.tokenizer, bundle.manifest.prompt.chat_template)
        size = sum((bundle.path / name).stat().st_size for name in names)
        weights = sum((bundle.path / name).stat().st_size for name in names if name.endswith(".data"))
        assert forms[engine]["download_bytes"] == size
        memory = forms[engine]["memory_bytes"]["192"]
        assert memory["weights"] == pytest.approx(weights, rel=0.05)
        assert memory["cache"] == 192 * bundle.manifest.cache.bytes_per_token
    shown = edge_inside("inspect", bundle.path).stdout
    assert "Download, MB" in shown and "Memory, MB, webgpu" in shown and "vision_webgpu.onnx" in shown

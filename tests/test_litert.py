"""Target litert: its graphs compute the model, run by LiteRT and by the reader of their files, number by number."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import resealed
from command_line import edge, edge_inside
from export_settings import settings_for
from golden_checkpoints import golden_source, prompt_of
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")

from litert_graphs import decoder_steps, graph_of, part_of, run, runtimes

from phantom_edge.bundle.folder import Bundle
from phantom_edge.checkpoint.quantized.files import QuantizedFiles
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.proof.verify import verify
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets.litert.binding import Bound
from phantom_edge.export.targets.litert.decoder import DecoderGraph
from phantom_edge.export.targets.litert.facts import LiteRtFacts
from phantom_edge.export.targets.litert.graph import Value
from phantom_edge.export.targets.litert.lower import settle
from phantom_edge.export.targets.litert.model_file import ModelFile
from phantom_edge.export.targets.litert.names import IMAGE_TOKENS, IMAGES, Compute, firsts_of
from phantom_edge.export.targets.litert.proving import ExactLiteRtEngine
from phantom_edge.export.targets.litert.reader.model import read_model
from phantom_edge.export.targets.litert.rotation import constant_frequencies
from phantom_edge.export.targets.litert.vision import VisionGraph
from phantom_edge.export.targets.litert.weights import Weights
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.models.config import PhantomConfig
from phantom_edge.models.shipped import NANO
from phantom_edge.processing.tiling import Tiling
from phantom_edge.quantize.quantize import quantize_checkpoint
from phantom_edge.quantize.recipe import read_recipe
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Session

SAMPLE = Path(__file__).parents[1] / "apps/samples/00000/00009002.png"

BOUND = 1e-4
"""Largest difference of a logit: float32, sums in another order."""

CONTEXT, PROMPT = 96, 64


@pytest.mark.parametrize(
    ("name", "phantom", "compute"),
    [
        ("0_5b-1.0", "full", "cpu"),
        ("1_8b-1.0", "full", "cpu"),
        ("3_8b-sw16-1.0", "full", "cpu"),
        ("7b-1.0", "full", "cpu"),
        ("0_5b-tied-1.0", "full", "cpu"),
        ("0_5b-1e-4", "rank=auto", "cpu"),
        ("0_5b-1.0", "full", "npu"),
        ("1_8b-1.0", "full", "npu"),
        ("3_8b-sw16-1.0", "full", "npu"),
        ("7b-1.0", "full", "npu"),
        ("3_8b-sw16-1.0", "full", "gpu"),
    ],
)
def test_decoders_compute_the_model(name: str, phantom: str, compute: Compute, golden: Any, tmp_path: Path) -> None:
    """A prompt of 64 in chunks of 16, 32 tokens one by one to the last slot; and odd chunks over what that left."""
    g = golden(name)
    ids = prompt_of(g, CONTEXT)
    wanted = g.model(input_ids=ids[None]).logits[0].numpy()
    embeds = g.model.get_input_embeddings()(ids).numpy()
    for runtime, steps in decoder_steps(golden_source(g), tmp_path, CONTEXT, 16, phantom, compute).items():
        for sizes in ((PROMPT, *(1,) * (CONTEXT - PROMPT)), (5, 1, 37, 53)):
            start, places, found = 0, [], []
            for size in sizes:
                rows = embeds[start : start + size]
                found.append(steps.forward(rows, start, np.array([0, size - 1])))
                places += [start, start + size - 1]
                start += size
            logits = np.concatenate(found)
            assert np.abs(logits - wanted[places]).max() <= BOUND, (runtime, sizes)
            assert (logits.argmax(-1) == wanted[places].argmax(-1)).all(), (runtime, sizes)


@pytest.mark.parametrize("name", ["0_5b-1.0", "1_8b-1.0", "3_8b-1.0", "7b-1.0"])
def test_vision(name: str, golden: Any, tmp_path: Path) -> None:
    """Pixels from 0 to 1, normalized inside."""
    g = golden(name)
    tiling = Tiling(g.model.config.vision.image_size, 1, 6, True)
    source, file = golden_source(g), ModelFile()
    graph = VisionGraph(g.model.config, tiling, Weights(source.read, None), file)
    file.save(tmp_path / "vision.tflite")
    mean, std = (np.array(one, np.float32) for one in (tiling.mean, tiling.std))
    pixels = g.io["pixel_values"][:1]
    wanted = g.model.get_image_features(pixels).pooler_output.flatten(0, 1).numpy()
    for runtime, bind in runtimes(tmp_path).items():
        bound = Bound(part_of(graph, "vision.tflite"), {}, bind)
        bound.inputs[IMAGES][...] = pixels.numpy().transpose(0, 2, 3, 1) * std + mean
        bound.run()
        assert np.abs(bound.outputs[IMAGE_TOKENS][0] - wanted).max() <= BOUND, runtime


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    desk = tmp_path_factory.mktemp("checkpoints")

    def get(name: str) -> Path:
        if name == "fp32":
            return NANO
        if not (desk / name).exists():
            quantize_checkpoint(NANO, read_recipe(name), desk / name, name=name)
        return desk / name

    return get


@pytest.fixture(scope="module")
def bundles(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """Nano in every format, proved by export itself."""
    desk, found = tmp_path_factory.mktemp("litert"), dict[str, Bundle]()

    def get(name: str) -> Bundle:
        if name not in found:
            asked = settings_for("litert", max_context=320, max_tiles=1)
            found[name] = export_bundle(str(checkpoints(name)), "litert", desk / name, asked).bundle
        return found[name]

    return get


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("fp32", "int8")]
FORMATS = [*LONG, pytest.param("int4", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_bundle_is_proved(name: str, bundles: Callable[[str], Bundle]) -> None:
    """As LiteRT runs all its graphs, and by the reader of the files without rounding of activations."""
    bundle = Bundle.open(bundles(name).path)
    assert bundle.facts(LiteRtFacts).firsts == (256,)
    proof = bundle.proof
    assert proof is not None and proof.passed and bundle.verified
    stages = {"vision", "prefill", "decode"}
    assert {check.stage for check in proof.checks} == (
        stages if name == "fp32" else stages | {f"exact {stage}" for stage in stages}
    )
    exact = [check for check in proof.checks if "exact" in check.stage or name == "fp32"]
    assert all(check.bound == BOUND for check in exact if "relative" in check.measure)


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 64])
@pytest.mark.parametrize("seen", [512, *(pytest.param(seen, marks=pytest.mark.long) for seen in (256, 640))])
def test_a_fault_in_any_graph_fails_the_proof(
    seen: int, tokens: int, checkpoints: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs of so many tokens that attend to so many rows see wrong values; the others are right."""
    mixed = DecoderGraph._mixed

    def wrong(graph: DecoderGraph, query: Value, rows: tuple[Value, Value], number: int) -> Value:
        found = mixed(graph, query, rows, number)
        is_meant = (graph.seen, graph.tokens) == (seen, tokens)
        return graph.mul(found, graph.held("1.5", np.full((1, 1, 1, 1), 1.5))) if is_meant else found

    monkeypatch.setattr(DecoderGraph, "_mixed", wrong)
    asked = settings_for("litert", max_context=576, max_tiles=1, container=False)
    bundle = export_bundle(str(checkpoints("int4")), "litert", tmp_path / "bundle", asked, prove=False).bundle
    assert bundle.facts(LiteRtFacts).firsts == (256, 512)
    assert not verify(bundle, Source.open(checkpoints("int4"))).passed


def test_graphs_of_first_rows() -> None:
    """Of doubled sizes, up to the context and not beyond: no graph twice."""
    assert firsts_of(256) == () and firsts_of(257) == (256,) and firsts_of(2048) == (256, 512, 1024)


@pytest.mark.parametrize("name", FORMATS[1:])
def test_integers_are_the_checkpoints(
    name: str, bundles: Callable[[str], Bundle], checkpoints: Callable[[str], Path]
) -> None:
    """Bit for bit in every file: integers, and what they stand for."""
    files, compared = QuantizedFiles.open(checkpoints(name)), set()
    for file in {part.file for part in bundles(name).manifest.parts.values()}:
        for graph in read_model(bundles(name).file(file)).values():
            for number, tensor in enumerate(graph.tensors):
                if tensor.data is None or tensor.dtype not in ("INT8", "INT4"):
                    continue
                weight = tensor.name.removesuffix(".integers")
                wanted = files.quantized(weight)
                middle = wanted.scheme.middle
                assert np.array_equal(tensor.stored.astype(int), wanted.integers.numpy().astype(int) - middle), weight
                assert np.array_equal(graph.weight(number), wanted.dequantize().numpy()), weight
                compared.add(weight)
    assert compared == files.schemes.keys()


@pytest.mark.parametrize("name", FORMATS)
def test_it_answers(name: str, bundles: Callable[[str], Bundle]) -> None:
    """LiteRT and the reader write the same answer."""
    bundle = bundles(name)
    texts = [
        "".join(one.ask("What is the price?", [SAMPLE], Sampling(8)))
        for one in (open_session(bundle.path), Session(bundle, ExactLiteRtEngine(bundle, 1)))
    ]
    assert texts[0] and texts[0] == texts[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["run", "lint", *(pytest.param(verb, marks=pytest.mark.long) for verb in ("profile", "eval", "inspect"))]
)
def test_commands_show_nothing_of_litert_s_log(verb: str, bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    """LiteRT logs when it loads, and at the end of a process; torch, when lint loads it."""
    arguments: dict[str, tuple[object, ...]] = {
        "run": ("--image", SAMPLE, "--max-new-tokens", 3, "What is the price?"),
        "profile": ("--repeats", 1, "--tokens", 4, "--depth", 64, "--image", SAMPLE, "--out", tmp_path / "run.json"),
        "eval": ("--data", SAMPLE.parents[1] / "triples.jsonl", "--limit", 1, "--out", tmp_path / "report"),
        "inspect": (),
        "lint": (),
    }
    bundle = bundles("int4").path
    ran = edge(verb, *(("--model", bundle) if verb == "run" else (bundle,)), *arguments[verb])
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout and not any(word in ran.stderr for word in ("INFO", "WARNING", "_pytree"))


def without(port: str) -> Callable[[Any], None]:
    def edit(manifest: Any) -> None:
        part = manifest["parts"]["decoder"]
        part["inputs"] = [one for one in part["inputs"] if one["name"] != port]

    return edit


def shorter(manifest: Any) -> None:
    manifest["cache"]["max_context"] += 1


def without_first(manifest: Any) -> None:
    del manifest["parts"]["chunk_first_256"]


def chunkless(manifest: Any) -> None:
    del manifest["parts"]["chunk"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (without("mask"), "lists no mask of decoder"),
        (without("kv_cache_k_0"), "has other ports"),
        (shorter, "have no rows for the padding"),
        (chunkless, "lists no part chunk"),
        (without_first, "lists no part chunk_first_256"),
    ],
)
def test_a_manifest_that_contradicts_its_graphs_is_refused(
    edit: Callable[[Any], None], said: str, bundles: Callable[[str], Bundle], tmp_path: Path
) -> None:
    folder = shutil.copytree(bundles("int4").path, tmp_path / "bundle")
    resealed(folder, edit)
    with pytest.raises(EdgeError, match=said):
        open_session(folder)


WRONG = {
    "int4-g32": "XNNPACK takes positive bfloat16 numbers alone",
    "int4-g64-pos": "only whole rows and blocks of 32",
    "int4-g32-asym": "no zero points",
    "int3-g32": "no integers of 3 bits",
    "int8-g32": "blocks of 8 bits",
    "w8a8": "not with a fixed scale",
    "lut4-r16": "no palettes",
}


@pytest.mark.parametrize("scheme", WRONG)
def test_schemes_that_kernels_lack_are_refused(scheme: str) -> None:
    config = PhantomConfig.from_pretrained(NANO)
    with pytest.raises(EdgeError, match=WRONG[scheme]):
        settle(config, {"a.weight": SCHEMES[scheme]}, settings_for("litert"))


def test_floats_of_16_bits_are_refused(tmp_path: Path) -> None:
    ran = edge_inside("export", "nano", "--target", "litert", "--weights", "fp16", "--out", tmp_path / "bundle")
    assert ran.returncode == 1 and "takes floats in fp32" in ran.stderr and list(tmp_path.iterdir()) == []


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 5), columns=st.integers(1, 40))
def test_a_file_keeps_its_constants(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, columns: int
) -> None:
    """Inside the flatbuffer and behind it, the reader finds every bit."""
    folder = tmp_path_factory.mktemp("file")
    held = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    part = graph_of(folder, lambda graph: graph.add(graph.inputs["x"], graph.held("y", held)), x=(rows, columns))
    graph = read_model(folder / part.file)["main"]
    found = [tensor.stored for tensor in graph.tensors if tensor.data is not None]
    assert len(found) == 1 and np.array_equal(found[0], held)


def test_an_int4_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    """Every integer of 4 bits, at both places of a byte."""
    part = graph_of(
        tmp_path,
        lambda graph: graph.add(
            graph.inputs["x"],
            graph.constant("y", (16,), lambda: (np.arange(16).reshape(8, 2) @ [1, 16]).astype(np.uint8), "int4"),
        ),
        x=(16,),
    )
    tensor = next(one for one in read_model(tmp_path / part.file)["main"].tensors if one.data is not None)
    assert tensor.stored.tolist() == [*range(8), *range(-8, 0)]


@pytest.mark.parametrize("damage", ["empty", "short", "other"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    part = graph_of(tmp_path, lambda graph: graph.add(graph.inputs["x"], graph.held("y", np.ones(400))), x=(400,))
    path = tmp_path / part.file
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "short": whole[:-800], "other": b"x" * len(whole)}[damage])
    with pytest.raises(EdgeError, match=r"no \.tflite file"):
        read_model(path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Never another error, whatever the flatbuffer says."""
    folder = tmp_path_factory.mktemp("flipped")
    path = folder / graph_of(folder, lambda graph: graph.gelu(graph.inputs["x"]), x=(4,)).file
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    try:
        read_model(path)
    except EdgeError as error:
        assert "\n" not in error.problem


def test_a_graph_of_other_shapes_is_refused(tmp_path: Path) -> None:
    part = graph_of(tmp_path, lambda graph: graph.add(graph.inputs["x"], graph.held("y", np.ones(4))), x=(4,))
    wrong = replace(part, inputs=(replace(part.inputs[0], shape=(5,)),))
    with pytest.raises(EdgeError, match=r"x of main in .* is not \(5,\)"):
        run(wrong, runtimes(tmp_path)["LiteRT"], x=np.zeros(5, np.float32))


@pytest.mark.parametrize("kind", ["default", "linear", "dynamic", "longrope", "yarn"])
def test_frequencies_are_those_of_the_tables(kind: str) -> None:
    """Cosines and sines of angles in float32, as the model takes them."""
    config = PhantomConfig.from_pretrained(NANO).text
    half = config.head_dim // 2
    config.rope_parameters = {
        "default": {"rope_type": "default", "rope_theta": 1e4},
        "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
        "dynamic": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        "longrope": {
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "original_max_position_embeddings": 300,
            "short_factor": [1.5] * half,
            "long_factor": [3.0] * half,
        },
        "yarn": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64},
    }[kind]
    frequencies, scale = constant_frequencies(config, 256)
    angles = torch.arange(256)[:, None].float() * frequencies
    cosines, sines = constant_tables(config, 256)
    assert torch.equal(angles.cos() * scale, cosines) and torch.equal(angles.sin() * scale, sines)

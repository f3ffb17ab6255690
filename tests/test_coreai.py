"""Core AI assets compute the model: run by Apple's interpreter, compared with the reference, tensor by tensor.

Exact: the assets' own graphs and numbers, computed in float32. Float16: products of matrices summed in float32. As it
lies: by Apple's interpreter unchanged, which rounds every sum; see ``aimodel.precision``.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from comparison import BOUND, HALF_BOUND, relative_error
from coreml_packages import CHUNK, CONTEXT
from golden_checkpoints import Golden, golden_source, prompt_of

from phantom_edge.bundle.manifest import Phantom
from phantom_edge.bundle.part import Part, Port
from phantom_edge.checkpoint.quantized.schemes import SCHEMES
from phantom_edge.export.passes.phantom_rank import Phantom as Wanted
from phantom_edge.export.passes.phantom_rank import choose_forms
from phantom_edge.export.passes.rope import constant_tables
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.sessions import open_session
from phantom_edge.export.targets import TARGETS
from phantom_edge.export.targets.coreml.facts import AppleFacts
from phantom_edge.export.targets.coreml.graph import port
from phantom_edge.export.targets.coreml.host import layout_of
from phantom_edge.export.targets.coreml.layouts import PRODUCT
from phantom_edge.export.targets.target import Lowered, Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.resume import Unfinished
from phantom_edge.runtime.session import Answer
from phantom_edge.runtime.steps import Steps

pytest.importorskip("coreai_torch")

from phantom_edge.export.targets.coreai import lower as coreai
from phantom_edge.export.targets.coreai.drawing import AssetDrawing, Draw
from phantom_edge.export.targets.coreai.engine import load
from phantom_edge.export.targets.coreai.precision import Mode
from phantom_edge.export.targets.coreai.scales import AssetReference

STRICT_BOUND = 1e-1
MODES: tuple[Mode, ...] = get_args(Mode)
GOLDEN = ("0_5b-1.0", "1_8b-1.0", "3_8b-sw16-1.0")


class Assets:
    """What target coreai makes of a golden checkpoint."""

    def __init__(self, g: Golden, folder: Path, phantom: str) -> None:
        self.folder, self.source = folder, golden_source(g)
        asked = Settings("fp16", phantom, max_context=CONTEXT, prefill_chunk=CHUNK)
        asked, target = coreai.settle(self.source.config, {}, asked), TARGETS["coreai"]
        wanted = Wanted.parse(phantom, torch.float16)
        self.chosen = choose_forms(self.source, wanted, multiple=target.multiple, least=target.least)
        parts = Unfinished(folder, {})
        self.lowered: Lowered = target.making().lower(
            self.source, self.chosen, asked, parts, lambda _what, _n: lambda _step: None
        )

    @property
    def fixed(self) -> AppleFacts:
        assert isinstance(self.lowered.facts, AppleFacts)
        return self.lowered.facts

    def reference(self) -> AssetReference:
        ranks = [(one.form.bases.key.rank, one.form.bases.value.rank) for one in self.chosen]
        return AssetReference(self.source, self.fixed, [Phantom(key, value, 0.0, 0.0, True) for key, value in ranks])

    def logits(self, embeds: np.ndarray, chunks: tuple[int, ...], mode: Mode) -> np.ndarray:
        rotary = np.stack([table.numpy() for table in constant_tables(self.source.config.text, CONTEXT)])
        functions = load(self.folder, self.lowered.parts, mode)
        steps = Steps(functions, self.lowered.parts["decoder"].inputs, layout_of(self.fixed), self.fixed, CHUNK, rotary)
        start, found = 0, []
        for size in chunks:
            rows = embeds[start : start + size]
            found.append(steps.forward(rows, start, np.arange(size), self.source.config.text.vocab_size))
            start += size
        return np.concatenate(found)

    def image_tokens(self, pixels: torch.Tensor, mode: Mode) -> Any:
        vision = load(self.folder, self.lowered.parts, mode)["vision"]
        found = [vision.run({"pixel_values": tile[None].numpy()})["image_tokens"] for tile in pixels]
        return np.concatenate([one[0, :, 0].T for one in found])


@pytest.mark.parametrize(("name", "phantom"), [*((name, "full") for name in GOLDEN), (GOLDEN[0], "rank=0")])
def test_assets_compute_the_model(name: str, phantom: str, golden, tmp_path: Path) -> None:
    """A prompt in chunks, tokens one by one to the cache's last slot, odd chunks; and pictures."""
    g = golden(name)
    made = Assets(g, tmp_path, phantom)
    reference, ids = made.reference(), prompt_of(g, CONTEXT)
    wanted = reference.logits(reference.hidden([reference.embed(ids)])[0]).numpy()
    embeds = reference.embed(ids).numpy()
    for chunks in ((64, *[1] * 32), (5, 1, 37, 53)):
        found = made.logits(embeds, chunks, "smooth")
        assert relative_error(found, wanted) <= BOUND, chunks
        assert (found.argmax(-1) == wanted.argmax(-1)).all(), chunks
    if phantom == "full":
        model = g.model(input_ids=ids[None]).logits[0].numpy()
        assert relative_error(made.logits(embeds, (64, *[1] * 32), "fp16"), model) <= HALF_BOUND
    if phantom == "full" and name == GOLDEN[0]:
        assert relative_error(made.logits(embeds, (64, *[1] * 32), "strict"), model) <= STRICT_BOUND
    if "pixel_values" not in g.io:
        return
    pixels = g.io["pixel_values"]
    assert relative_error(made.image_tokens(pixels, "smooth"), reference.image_tokens(pixels)) <= BOUND
    seen = g.model.get_image_features(pixels).pooler_output.flatten(0, 1).numpy()
    assert relative_error(made.image_tokens(pixels, "fp16"), seen) <= HALF_BOUND


def made_of(draw: Draw, ports: Sequence[Port], folder: Path) -> Part:
    """An asset of one function."""
    drawing = AssetDrawing()
    drawing.function("main", ports, [], draw)
    drawing.convert()
    drawing.save(folder / "one.aimodel")
    function = drawing.functions["main"]
    return Part("one.aimodel", (), "fp16", function.operators, {}, function.inputs, function.outputs)


def test_sums_of_products_are_what_is_coarse(tmp_path: Path) -> None:
    """Term by term, product and sum rounded to float16 each: why bundles are held to their bounds with wider sums."""

    def product(graph: Any) -> dict[str, Any]:
        return {"out": graph.mb.einsum(values=[graph["left"], graph["right"]], equation=PRODUCT)}

    part = made_of(product, [port("left", (1, 8, 1, 256)), port("right", (1, 256, 1, 16))], tmp_path)
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(one.shape).astype(np.float16) for one in part.inputs)
    a, b = x[0, :, 0], y[0, :, 0]
    found = {
        mode: load(tmp_path, {"one": part}, mode)["one"].run({"left": x, "right": y})["out"][0, :, 0] for mode in MODES
    }
    exact = a.astype(np.float64) @ b.astype(np.float64)
    one_by_one = np.zeros((8, 16), np.float16)
    for term in range(256):
        one_by_one = one_by_one + a[:, term, None] * b[None, term]
    assert np.array_equal(found["strict"], one_by_one)
    assert relative_error(found["strict"], exact) > 1e-3
    assert relative_error(found["fp16"], exact) <= 2**-11
    assert relative_error(found["smooth"], exact) <= 1e-6


@pytest.mark.parametrize("width", [4, 64])
def test_small_weights_and_weights_of_layer_scales_are_as_stored(width: int, tmp_path: Path) -> None:
    """Below 2^-14, beside an own scale of ones; as numbers of the graph (4) and apart from it (64)."""
    weight = torch.arange(width**2).remainder(97).float().reshape(width, width, 1, 1) * 6e-7

    def scaled_product(graph: Any) -> dict[str, Any]:
        x = graph.mb.conv(x=graph["x"], weight=graph.held("weight", weight))
        return {"out": graph.mb.mul(x=x, y=graph.held("scale", torch.ones(1, width, 1, 1)))}

    part = made_of(scaled_product, [port("x", (1, width, 1, 3))], tmp_path)
    x = np.random.default_rng(0).standard_normal(part.inputs[0].shape).astype(np.float16)
    wanted = weight[:, :, 0, 0].half().double().numpy() @ x[0, :, 0].astype(np.float64)
    for mode, bound in {"smooth": 1e-6, "fp16": 1e-2, "strict": 1e-2}.items():
        assert relative_error(load(tmp_path, {"one": part}, mode)["one"].run({"x": x})["out"][0, :, 0], wanted) <= bound


def test_what_is_no_part_of_the_experiment_is_refused(golden) -> None:
    with pytest.raises(EdgeError, match="computes in fp16, not in fp32"):
        coreai.settle(golden("0_5b-1.0").model.config, {}, Settings("fp32"))


def test_a_quantized_checkpoint_is_refused(golden) -> None:
    with pytest.raises(EdgeError, match="experiment with float16 weights"):
        coreai.settle(golden("0_5b-1.0").model.config, {"w": SCHEMES["int8"]}, Settings("fp16"))


@pytest.mark.long
def test_the_model_inside_this_package_is_proved_and_answers(tmp_path: Path) -> None:
    settings = Settings("fp16", max_context=256, prefill_chunk=32)
    bundle = export_bundle("nano", "coreai", tmp_path / "bundle", settings).bundle
    assert bundle.verified and bundle.facts(AppleFacts).ios == 27
    assert {check.stage for check in bundle.proof.checks} >= {"decode", "exact decode", "exact vision"}
    answer = Answer()
    said = "".join(open_session(tmp_path / "bundle").ask("Who are you?", answer=answer))
    assert said and answer.tokens > 0


def test_an_asset_with_other_ports_is_refused(golden, tmp_path: Path) -> None:
    made = Assets(golden("0_5b-1.0"), tmp_path, "full")
    parts = made.lowered.parts
    head = replace(parts["head"], inputs=(replace(parts["head"].inputs[0], name="other"),))
    with pytest.raises(EdgeError, match="other functions, inputs or outputs"):
        load(tmp_path, {**parts, "head": head}, "strict")
    (tmp_path / "decoder.aimodel/main.mlirb").write_bytes(b"nothing")
    with pytest.raises(EdgeError, match="is damaged"):
        load(tmp_path, parts, "fp16")


def test_weights_lie_once(golden, tmp_path: Path) -> None:
    made = Assets(golden("0_5b-1.0"), tmp_path, "full")
    parts = made.lowered.parts
    assert parts["head"].weight_bytes == {}
    size = (tmp_path / "decoder.aimodel/main.mlirb").stat().st_size
    weights = sum(sum(part.weight_bytes.values()) for name, part in parts.items() if name != "vision")
    assert weights < size < 2 * weights
    assert json.loads((tmp_path / "decoder.aimodel/metadata.json").read_text())

"""A bundle answers as its checkpoint does, and one that is not what it says is refused, never run."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from asked import settings_for
from noise import noise

from phantom_edge.bundle.folder import Bundle, is_bundle, sealed
from phantom_edge.bundle.manifest import MANIFEST, UNSEALED, Manifest
from phantom_edge.bundle.proof import DIVERGENCE, OTHERS, RELATIVE, Check, Proof
from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.random import write_random
from phantom_edge.export.manifest_schema import manifest_schema
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.proof.measures import Tally
from phantom_edge.export.proof.verify import check_source, verify
from phantom_edge.export.sessions import open_session, session_of
from phantom_edge.export.targets.onnx.decoder import DecoderDrawing
from phantom_edge.export.targets.onnx.graph import Drawing
from phantom_edge.export.targets.onnx.linear import LinearDrawing
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.resume import unfinished
from phantom_edge.foundation.typed import WrongJson, from_json, to_json
from phantom_edge.generate import load, make_inputs
from phantom_edge.models.sizes import SIZES
from phantom_edge.reference import Reference
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session

SCHEMA = Path(__file__).resolve().parents[1] / "phantom_edge" / "bundle" / "schema.json"
QUESTION = "What is in the picture, and where?"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights at full phantom strength."""
    folder = tmp_path_factory.mktemp("bundle") / "checkpoint"
    write_random(SIZES["tiny"], folder, seed=3, dtype=torch.float32, eta=1.0)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path) -> Bundle:
    return export(checkpoint, checkpoint.parent / "bundle", max_context=512)


def export(checkpoint: Path, out: Path, prove: bool = False, **settings: Any) -> Bundle:
    return export_bundle(str(checkpoint), "onnx", out, settings_for("onnx", **settings), prove=prove).bundle


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "a.png"
    noise((300, 140), 90).save(path)
    return path


def answer_of(session: Session, question: str, images: list[Path], tokens: int = 64) -> Answer:
    answer = Answer()
    text = "".join(session.ask(question, images, Sampling(max_new_tokens=tokens), answer))
    assert text == answer.text
    return answer


@pytest.mark.parametrize("with_picture", [True, False])
@pytest.mark.parametrize("chunk", [1, 16, 64])
def test_greedy_tokens_are_the_checkpoints(
    chunk: int, with_picture: bool, checkpoint: Path, bundle: Bundle, picture: Path
) -> None:
    model, processor = load(str(checkpoint))
    images = [picture] if with_picture else []
    inputs = make_inputs(model, processor, QUESTION, images)
    want = model.generate(**inputs, max_new_tokens=64, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
    session = session_of(replace(bundle, manifest=replace(bundle.manifest, prefill_chunk=chunk)))
    answer = answer_of(session, QUESTION, images)
    assert answer.prompt_tokens == inputs["input_ids"].shape[1]
    assert answer.ids == want


def test_what_two_prompts_share_is_computed_once(bundle: Bundle, picture: Path) -> None:
    """And changes nothing: neither a shared picture, nor one that differs, nor the same question again."""
    other = picture.with_name("b.png")
    noise((300, 140), 30).save(other)
    session = open_session(bundle.path)
    asked = [(QUESTION, picture), ("Why?", picture), ("Why?", other), ("Why?", other), (QUESTION, picture)]
    reused = []
    for question, image in asked:
        answer = answer_of(session, question, [image], 12)
        reused.append(answer.reused_tokens)
        assert answer.ids == answer_of(open_session(bundle.path), question, [image], 12).ids
    per_tile = bundle.manifest.pictures.tokens_per_tile
    assert reused[0] == 0 and reused[1] > per_tile and reused[2] < per_tile and reused[3] > per_tile


def test_more_pictures_than_are_remembered(checkpoint: Path, tmp_path: Path) -> None:
    """Nine in one prompt, then the first beside a new one."""
    wide = export(checkpoint, tmp_path / "wide", max_context=1024)
    pictures = [tmp_path / f"{number}.png" for number in range(10)]
    for number, path in enumerate(pictures):
        noise((60, 60), 20 + 20 * number).save(path)
    session = session_of(wide)
    for asked in (pictures[:9], [pictures[0], pictures[9]]):
        assert answer_of(session, "Which?", asked, 4).ids == answer_of(session_of(wide), "Which?", asked, 4).ids


def test_an_older_answer_does_not_go_on(bundle: Bundle) -> None:
    session = session_of(bundle)
    first = session.ask("Why?", [], Sampling(40))
    next(first)
    answer_of(session, "How?", [], 3)
    with pytest.raises(EdgeError, match="asked something else"):
        list(first)


def test_a_stop_token_that_is_a_word_is_not_said(bundle: Bundle) -> None:
    whole = answer_of(session_of(bundle), QUESTION, [], 8)
    stop = next(token for token in whole.ids[1:] if token != whole.ids[0])
    prompt = replace(bundle.manifest.prompt, stop_tokens=(stop,))
    session = session_of(replace(bundle, manifest=replace(bundle.manifest, prompt=prompt)))
    answer = answer_of(session, QUESTION, [], 8)
    said = answer.ids[: answer.ids.index(stop)]
    assert answer.stopped_by == "end of turn" and answer.text == session.text.tokenizer.decode(said)


def test_a_full_cache_ends_the_answer(checkpoint: Path, tmp_path: Path) -> None:
    small = export(checkpoint, tmp_path / "small", max_context=40, prefill_chunk=8)
    session = session_of(small)
    answer = answer_of(session, "Why?", [], 100)
    assert answer.stopped_by in ("context", "end of turn")
    assert answer.prompt_tokens + answer.tokens <= 41
    with pytest.raises(EdgeError, match="this bundle holds 40"):
        answer_of(session, "Why? " * 60, [])


def test_half_precision_is_near(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Logits of one prompt, in float16 everywhere: rounding of some 1e-3 of their size, ten times that allowed."""
    half = export(checkpoint, tmp_path / "half", precision="fp16", max_context=512)
    assert half.manifest.cache.bytes_per_token < bundle.manifest.cache.bytes_per_token
    found = []
    for one in (bundle, half):
        engine = session_of(one).engine
        ids = session_of(one).text.ids([{"role": "user", "content": QUESTION}], [], 1)
        found.append(engine.forward(engine.embed(ids), 0, np.arange(len(ids))))
    assert np.abs(found[0] - found[1]).max() < 2e-2 * np.abs(found[0]).max()


@pytest.mark.slow
def test_verification_tells_a_right_bundle_from_a_wrong_one(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Wrong: the phantom halves dropped, which at eta 1 is another model; and the weights of another seed."""
    source = Source.open(checkpoint)
    proof = verify(bundle, source)
    assert proof.passed and len(proof.checks) > 50 and not proof.left_out
    assert {check.stage for check in proof.checks} == {"vision", "prefill", "decode"}
    dropped = verify(export(checkpoint, tmp_path / "dropped", max_context=512, phantom="rank=0"), source)
    failed = {(check.stage, check.measure) for check in dropped.checks if not check.passed}
    assert failed >= {(stage, measure) for stage in ("prefill", "decode") for measure in (RELATIVE, DIVERGENCE, OTHERS)}
    assert not any(stage == "vision" for stage, _ in failed)
    write_random(SIZES["tiny"], tmp_path / "other", seed=4, dtype=torch.float32, eta=1.0)
    other = verify(export(tmp_path / "other", tmp_path / "wrong", max_context=512), source)
    assert not any(check.passed for check in other.checks if check.bound is not None)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 1e-2)])
def test_the_model_inside_is_proved(precision: str, bound: float, tmp_path: Path) -> None:
    """Every case fits, and nothing is near its bound: 1e-4 of the largest logit and not one other token in float32."""
    bundle = export(Path("nano"), tmp_path / "nano", prove=True, precision=precision)
    proof = bundle.manifest.proof
    assert proof is not None and proof.passed and not proof.left_out
    assert max(check.value for check in proof.checks if check.measure == RELATIVE) < bound
    assert bundle.manifest.model.name == "nano" and bundle.manifest.model.eta == 1.0
    ranks = {rank for layer in bundle.manifest.phantom for rank in (layer.key_rank, layer.value_rank)}
    assert max(ranks) < bundle.manifest.model.head_dim  # two kv heads: the phantom halves lie on a curve


@pytest.mark.parametrize("attention", ["window", "full"])
def test_the_streamed_reference_is_the_model(attention: str, checkpoint: Path, tmp_path: Path) -> None:
    """Image tokens and logits at every position, computed layer by layer, also with a sliding window."""
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sliding_window"] = 7 if attention == "window" else None
    (folder / "config.json").write_text(json.dumps(config))
    model, _ = load(str(folder), torch.float32)
    reference = Reference(Source.open(folder))
    torch.manual_seed(0)
    ids = torch.randint(0, 200, (2, 19))
    pixels = torch.randn(3, 3, *[model.config.vision.image_size] * 2)
    with torch.no_grad():
        want = model(input_ids=ids).logits
        seen = model.get_image_features(pixels).pooler_output.flatten(0, 1)
    assert (reference.image_tokens(pixels) - seen).abs().max() < 1e-5
    for row, hidden in zip(want, reference.hidden([reference.embed(one) for one in ids]), strict=True):
        assert (reference.logits(hidden) - row).abs().max() < 1e-4


def other_words(folder: Path) -> None:
    """Two letters change places in the tokenizer."""
    document = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = document["model"]["vocab"]
    vocabulary["e"], vocabulary["a"] = vocabulary["a"], vocabulary["e"]
    (folder / "tokenizer.json").write_text(json.dumps(document))
    content = (folder / "tokenizer.json").read_bytes()
    listed = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edited(lambda d: d["files"].update({"tokenizer.json": listed}))(folder)


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "colours": (lambda folder: edited(lambda d: d["pictures"].update(mean=[0, 0, 0]))(folder), "pictures is"),
    "stop tokens": (lambda folder: edited(lambda d: d["prompt"].update(stop_tokens=[9]))(folder), "prompt is"),
    "words": (other_words, "into other tokens than"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bundle_that_reads_otherwise_is_no_proof(name: str, checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Words and pictures are the checkpoint's, too, not only what is computed of them."""
    damage, message = WRONG[name]
    folder = shutil.copytree(bundle.path, tmp_path / "bundle")
    damage(folder)
    source = Source.open(checkpoint)
    with pytest.raises(EdgeError, match=message):
        check_source(Bundle.open(folder), source)
        verify(Bundle.open(folder), source)


def test_what_does_not_fit_is_told(checkpoint: Path, tmp_path: Path) -> None:
    """Pictures are compared whatever the cache holds; a cache for nothing is said to be one."""
    proof = verify(export(checkpoint, tmp_path / "small", max_context=64, prefill_chunk=8), Source.open(checkpoint))
    assert proof.passed and "several tiles" in proof.left_out
    assert {check.case for check in proof.checks if check.stage == "vision"} == {"1 tile", "7 tiles"}
    with pytest.raises(EdgeError, match="not even a short prompt"):
        export(checkpoint, tmp_path / "tiny", prove=True, max_context=33, prefill_chunk=8)
    assert not Proof((Check("decode", "any", RELATIVE, 0.0, 1.0),), ()).passed  # nothing of vision and prefill


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_passes_no_bound(value: float) -> None:
    tally = Tally()
    tally.add(np.array([[1.0, value, 2.0]]), torch.tensor([[1.0, 1.0, 2.0]]), is_logits=True)
    measures = tally.measures()
    assert measures[RELATIVE] is None and measures[DIVERGENCE] is None
    assert (
        not Check("decode", "any", RELATIVE, None, 1.0).passed
        and not Check("decode", "any", RELATIVE, None, None).passed
    )


@pytest.mark.parametrize(("behind", "others"), [(1e-6, 0.0), (3e-6, 0.0), (5e-6, 1.0), (1e-4, 1.0)])
def test_another_token_is_one_only_where_float32_tells_them_apart(behind: float, others: float) -> None:
    """The reference's two likeliest are so far apart, as a share of the largest; the bundle takes the second."""
    tally = Tally()
    wanted = torch.tensor([[-1.0, 1.0, 1.0 - behind]], dtype=torch.float64)
    tally.add(np.array([[-1.0, 1.0 - behind, 1.0]]), wanted, is_logits=True)
    assert tally.measures()[OTHERS] == others


def test_a_bundle_that_is_off_is_not_written(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="does not compute its model, and was not written: prefill of 'text alone'"):
        export(checkpoint, tmp_path / "off", prove=True, max_context=64, phantom="rank=0")
    assert not list(tmp_path.iterdir())
    off = export(checkpoint, tmp_path / "off", max_context=64, phantom="rank=0")
    assert off.manifest.proof is None and not off.manifest.verified


def test_an_interrupted_export_goes_on(
    checkpoint: Path, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while the decoder is written: vision is not written again, and the bundle is the same in the end."""
    written: list[str] = []

    def save(self: Drawing, path: Path, data: str, progress: Callable[[int], None]) -> None:
        written.append(self.name)
        if stop == self.name:
            path.write_text("half")
            raise KeyboardInterrupt
        whole(self, path, data, progress)

    whole = Drawing.save
    monkeypatch.setattr(Drawing, "save", save)
    out = tmp_path / "bundle"
    stop = "decoder"
    with pytest.raises(KeyboardInterrupt):
        export(checkpoint, out, max_context=512)
    assert not out.exists() and [path.name for path in tmp_path.iterdir()] == [".bundle.unfinished"]
    stop = ""
    again = export(checkpoint, out, max_context=512)
    assert written == ["vision", "decoder", "decoder"]
    assert again.manifest == bundle.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"] and Bundle.open(out)


def test_what_another_export_left_is_not_used(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("phantom_edge.export.pipeline.choose_forms", stop)
        with pytest.raises(KeyboardInterrupt):
            export(checkpoint, tmp_path / "bundle", max_context=512)
    assert not list(tmp_path.iterdir())  # nothing was done, so nothing is left
    with monkeypatch.context() as patched:
        patched.setattr("phantom_edge.export.pipeline.listing", stop)
        with pytest.raises(KeyboardInterrupt):
            export(checkpoint, tmp_path / "bundle", max_context=512)
    assert [path.name for path in tmp_path.iterdir()] == [".bundle.unfinished"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(EdgeError, match="exists already"):
        export(checkpoint, tmp_path / "taken", max_context=512)
    half = export(checkpoint, tmp_path / "bundle", max_context=512, precision="fp16")
    assert half.manifest.parts["vision"].precision == "fp16" and Bundle.open(half.path)


def test_what_a_part_told_is_told_again(tmp_path: Path) -> None:
    """A part is not written again, and what it returned comes back out of the record of an interrupted export."""

    def write(folder: Path) -> dict[str, Any]:
        (folder / "a").write_text("a")
        return {"operators": {"mul": 2}, "shape": [1, "tokens"]}

    about = {"model": "one"}
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "bundle", about) as parts:
        told = parts.part("one", write)
        raise KeyboardInterrupt
    with unfinished(tmp_path / "bundle", about) as parts:
        assert parts.part("one", lambda _: pytest.fail("it is there")) == told
        (parts.folder / "a").write_text("half of it")
    with unfinished(tmp_path / "bundle", about) as parts:
        assert not parts.done and parts.part("one", write) == told
    with unfinished(tmp_path / "bundle", {"model": "another"}) as parts:
        assert not parts.done


def test_only_one_export_writes_a_bundle(checkpoint: Path, tmp_path: Path) -> None:
    with (
        unfinished(tmp_path / "bundle", {}) as parts,
        pytest.raises(EdgeError, match="another export is writing"),
    ):
        parts.part("one", lambda folder: (folder / "a").write_text("a") and None)
        export(checkpoint, tmp_path / "bundle", max_context=512)
    foreign = tmp_path / ".mine.unfinished"
    foreign.mkdir()
    (foreign / "diary").write_text("dear")
    with pytest.raises(EdgeError, match="not of phantom-edge's making"):
        export(checkpoint, tmp_path / "mine", max_context=512)
    assert (foreign / "diary").exists()


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text()) | {"seal": UNSEALED}
        change(document)
        (folder / MANIFEST).write_text(sealed(json.dumps(document)))

    return damage


def cut(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7]) and None


def flipped(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return damage


def swapped(one: str, other: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)

    return damage


FILES = ("vision.onnx", "vision.data", "decoder.onnx", "decoder.data", "tokenizer.json", "chat_template.jinja")
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    **{f"{name} cut": (cut(name), f"{name} has") for name in FILES},
    **{f"{name} with one bit flipped": (flipped(name), f"{name} is not the file") for name in FILES},
    "graphs swapped": (swapped("vision.onnx", "decoder.onnx"), "vision.onnx has|decoder.onnx has"),
    "weights missing": (lambda folder: (folder / "decoder.data").unlink(), "decoder.data is missing"),
    "manifest missing": (lambda folder: (folder / MANIFEST).unlink(), "has no phantom.json"),
    "manifest cut": (cut(MANIFEST), "phantom.json cannot be read"),
    "manifest a list": (lambda folder: (folder / MANIFEST).write_text("[]") and None, "the document is no object"),
    "wrong sha": (edited(lambda d: d["files"]["decoder.data"].update(sha256="0" * 64)), "is not the file"),
    "impossible sha": (edited(lambda d: d["files"]["decoder.data"].update(sha256="../x")), "files.decoder.data"),
    "future schema": (edited(lambda d: d.update(schema_version=99)), "schema version 99"),
    "other target": (edited(lambda d: d.update(target="coreml")), "target coreml"),
    "not sealed": (edited(lambda d: d.pop("seal")), "seal is missing"),
    "sealed by nobody": (edited(lambda d: d.update(seal="1" * 64)), "its seal does not fit"),
    "a digit changed": (
        lambda folder: (
            (folder / MANIFEST).write_text(
                (folder / MANIFEST).read_text().replace('"max_context": 512', '"max_context": 516')
            )
            and None
        ),
        "its seal does not fit",
    ),
    "no decoder": (edited(lambda d: d["parts"].pop("decoder")), "parts is impossible"),
    "embedding elsewhere": (edited(lambda d: d["embedding"].update(offset=10**9)), "embedding is impossible"),
    "embedding off by a byte": (edited(lambda d: d["embedding"].update(offset=3)), "embedding.offset is impossible"),
    "endless cache": (edited(lambda d: d["cache"].update(max_context=10**12)), "cache.max_context is impossible"),
    "another cache": (edited(lambda d: d["cache"].update(kv_heads=1)), "cache is impossible"),
    "another number format": (edited(lambda d: d["cache"].update(dtype="float16")), "ports is impossible"),
    "no stop": (edited(lambda d: d["prompt"].update(stop_tokens=[])), "prompt.stop_tokens is impossible"),
    "no such token": (edited(lambda d: d["prompt"].update(first_token=10**9)), "prompt is impossible"),
    "no tiles": (edited(lambda d: d["pictures"].update(tokens_per_tile=0)), "tokens_per_tile is impossible"),
    "endless tiles": (edited(lambda d: d["pictures"].update(max_tiles=10**9)), "tiles is impossible"),
    "no chunk": (edited(lambda d: d.update(prefill_chunk=0)), "prefill_chunk is impossible"),
    "endless number": (edited(lambda d: d["model"].update(eta=10**400)), "model.eta is larger than 53 bits"),
    "no number": (edited(lambda d: d["model"].update(eta=float("nan"))), "cannot be read"),
    "parts swapped": (
        edited(lambda d: d["parts"].update(vision=d["parts"]["decoder"], decoder=d["parts"]["vision"])),
        "has other inputs or outputs|ports",
    ),
    "another graph": (
        edited(lambda d: d["parts"]["decoder"].update(file="vision.onnx")),
        "has other inputs or outputs",
    ),
    "no tokenizer": (
        edited(lambda d: d["prompt"].update(tokenizer="chat_template.jinja")),
        "chat_template.jinja is no tokenizer",
    ),
    "unknown field": (edited(lambda d: d.update(surprise=1)), "surprise is not known"),
    "missing field": (edited(lambda d: d.pop("prompt")), "prompt is missing"),
    "wrong type": (edited(lambda d: d["cache"].update(layers="two")), "cache.layers is 'two'"),
    "file elsewhere": (
        edited(lambda d: d["files"].update({"../x": d["files"]["decoder.data"]})),
        "no plain file name",
    ),
    "unlisted file": (edited(lambda d: d["embedding"].update(file="other.data")), "'other.data' is used"),
    "widths do not fit": (edited(lambda d: d["cache"].update(key_widths=[1])), "has not one width"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_bundle_is_refused(name: str, bundle: Bundle, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    shutil.copytree(bundle.path, tmp_path / "bundle")
    damage(tmp_path / "bundle")
    with pytest.raises(EdgeError, match=message) as refused:
        open_session(tmp_path / "bundle")
    assert refused.value.remedy


def test_only_bundles_are_bundles(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    assert is_bundle(bundle.path) and not is_bundle(checkpoint)
    with pytest.raises(EdgeError, match="there is no folder"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(EdgeError, match="made for target onnx, not for coreml"):
        Bundle.open(bundle.path, "coreml")


def test_manifest_and_schema_agree(bundle: Bundle) -> None:
    """The committed schema is that of the code, and judges documents as the reader does."""
    jsonschema = pytest.importorskip("jsonschema")
    wanted = manifest_schema()
    assert json.loads(SCHEMA.read_text()) == wanted, "run: python scripts/schemas.py"
    judge = jsonschema.Draft202012Validator(wanted)
    document = to_json(bundle.manifest)
    assert from_json(Manifest, document) == bundle.manifest and judge.is_valid(document)
    changes: list[tuple[str, Any]] = [
        ("target", 1),
        ("parts", []),
        ("schema_version", 1),
        ("phantom", None),
        ("proof", 3),
    ]
    for key, value in changes:
        wrong = {**document, key: value}
        assert not judge.is_valid(wrong)
        with pytest.raises(WrongJson, match=key):
            from_json(Manifest, wrong)


def test_a_prompt_that_begins_otherwise_is_refused(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, prompt=replace(bundle.manifest.prompt, first_token=5))
    with pytest.raises(EdgeError, match="the prompt begins with"):
        answer_of(session_of(replace(bundle, manifest=manifest)), QUESTION, [])


def test_a_cache_of_int8_rows(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """A row is off by half a step of its own scale at most, which is its largest magnitude over 127."""
    rounded = export(checkpoint, tmp_path / "rounded", cache="int8", max_context=512)
    engines = {one.path.name: session_of(one).engine for one in (bundle, rounded)}
    ids = session_of(bundle).text.ids([{"role": "user", "content": QUESTION}], [], 1)
    logits = [one.forward(one.embed(ids), 0, np.arange(len(ids))) for one in engines.values()]
    assert np.abs(logits[0] - logits[1]).max() < 1e-4  # of the first chunk's own rows none is rounded
    floats, integers = engines["bundle"].cache, engines["rounded"].cache
    heads = bundle.manifest.cache.kv_heads
    for layer in range(bundle.manifest.cache.layers):
        scales = integers[f"scale.{layer}"][: len(ids)]
        for column, name in enumerate(f"{what}.{layer}.{head}" for what in ("key", "value") for head in range(heads)):
            exact, scale = floats[name][: len(ids)], scales[:, column : column + 1]
            assert integers[name].dtype == np.int8 and not integers[name][len(ids) :].any()
            assert np.allclose(scale, np.maximum(np.abs(exact).max(-1, keepdims=True) / 127, 1e-6), rtol=1e-4)
            assert (np.abs(integers[name][: len(ids)] * scale - exact) <= 0.501 * scale + 1e-5).all()
    before, after = (one.manifest.cache.bytes_per_token for one in (bundle, rounded))
    assert after < before / 2  # a scale is 4 bytes, and rows of this model are short


@pytest.mark.slow
def test_a_cache_of_int8_rows_is_proved(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its rounding taken out it is the model; with it, it is near, and with the scales of values for keys not."""
    bundle = export(checkpoint, tmp_path / "bundle", prove=True, cache="int8", max_context=512)
    proof = bundle.manifest.proof
    assert proof is not None and proof.passed
    stages = {check.stage for check in proof.checks}
    assert stages == {"vision", "prefill", "decode", "exact prefill", "exact decode"}
    exact, rounded = (
        [check.value for check in proof.checks if (check.stage == stage and check.measure == RELATIVE)]
        for stage in ("exact decode", "decode")
    )
    assert max(exact) < 1e-4 and max(rounded) > max(exact)
    scales = DecoderDrawing._row_scales
    monkeypatch.setattr(DecoderDrawing, "_row_scales", lambda self, number: scales(self, number)[::-1])
    with pytest.raises(EdgeError, match="does not compute its model") as refused:
        export(checkpoint, tmp_path / "wrong", prove=True, cache="int8", max_context=512)
    assert "--cache float" in refused.value.remedy


def test_small_rows_of_half_precision_keep_their_signs(tmp_path: Path) -> None:
    """Below float16's normal numbers a scale is coarse, and 127 steps of it are less than the row."""
    drawing = DecoderDrawing.__new__(DecoderDrawing)
    LinearDrawing.__init__(drawing, "rows", torch.float16, dict.__getitem__)
    drawing.rows = ir.DataType.INT8
    rows, scales = drawing._rounded_rows(drawing.input("x", ("N", 1, 16)))
    drawing.output(rows, "rows", ("N", 1, 16), ir.DataType.INT8)
    drawing.output(scales, "scales", ("N", 1, 1))
    drawing.save(tmp_path / "rows.onnx", "rows.data")
    size = np.float32(10.0) ** -np.arange(8).reshape(-1, 1, 1)
    x = (np.random.default_rng(0).standard_normal((8, 1, 16)) * size).astype(np.float16)
    found, scale = onnxruntime.InferenceSession(str(tmp_path / "rows.onnx")).run(None, {"x": x})
    off = np.abs(found.astype(np.float64) * scale - x.astype(np.float64))
    assert (off <= 0.5 * scale + 2.0**-10 * np.abs(x).max(-1, keepdims=True)).all()


def test_rows_of_zeros_are_kept(tmp_path: Path) -> None:
    """Nothing divides by nothing."""
    write_random(SIZES["tiny"], tmp_path / "model", seed=0, dtype=torch.float32)
    bundle = export(tmp_path / "model", tmp_path / "bundle", cache="int8", max_context=64)
    engine = session_of(bundle).engine
    logits = [
        engine.forward(np.zeros((4, bundle.manifest.model.hidden_size), np.float32), start, np.arange(4))
        for start in (0, 4)
    ]
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["scale.0 narrow", "rows of floats"])
def test_another_cache_than_the_graph_has(name: str, checkpoint: Path, tmp_path: Path) -> None:
    bundle = export(checkpoint, tmp_path / "bundle", cache="int8", max_context=64)

    def change(manifest: dict[str, Any]) -> None:
        ports = manifest["parts"]["decoder"]["inputs"]
        if name == "rows of floats":
            manifest["cache"]["rounded"] = False
        else:
            next(port for port in ports if port["name"] == "past_scale.0")["shape"] = ["P", 1]

    edited(change)(bundle.path)
    with pytest.raises(EdgeError, match="ports is impossible"):
        open_session(bundle.path)

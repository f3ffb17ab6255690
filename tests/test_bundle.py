"""A bundle answers as its checkpoint does, one that computes something else is not written, and exports go on."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import export_onnx, manifest_edit
from noise import noise

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.proof import DIVERGENCE, OTHERS, RELATIVE, Check, Proof
from phantom_edge.checkpoint.source import Source
from phantom_edge.convert.random import write_random
from phantom_edge.export.proof.measures import Tally
from phantom_edge.export.proof.verify import check_source, verify
from phantom_edge.export.sessions import open_session, session_of
from phantom_edge.export.targets.onnx.graph import Drawing
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.resume import unfinished
from phantom_edge.generate import load, make_inputs
from phantom_edge.models.sizes import SIZES
from phantom_edge.reference import Reference
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session

QUESTION = "What is in the picture, and where?"


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
    wide = export_onnx(checkpoint, tmp_path / "wide", max_context=1024)
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
    with pytest.raises(EdgeError, match="got another question"):
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
    small = export_onnx(checkpoint, tmp_path / "small", max_context=40, prefill_chunk=8)
    session = session_of(small)
    answer = answer_of(session, "Why?", [], 100)
    assert answer.stopped_by in ("context", "end of turn")
    assert answer.prompt_tokens + answer.tokens <= 41
    with pytest.raises(EdgeError, match="this bundle holds 40"):
        answer_of(session, "Why? " * 60, [])


def test_half_precision_is_near(checkpoint: Path, bundle: Bundle, tmp_path: Path) -> None:
    """Logits of one prompt, in float16 everywhere: rounding of some 1e-3 of their size, ten times that allowed."""
    half = export_onnx(checkpoint, tmp_path / "half", precision="fp16", max_context=512)
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
    dropped = verify(export_onnx(checkpoint, tmp_path / "dropped", max_context=512, phantom="rank=0"), source)
    failed = {(check.stage, check.measure) for check in dropped.checks if not check.passed}
    assert failed >= {(stage, measure) for stage in ("prefill", "decode") for measure in (RELATIVE, DIVERGENCE, OTHERS)}
    assert not any(stage == "vision" for stage, _ in failed)
    write_random(SIZES["tiny"], tmp_path / "other", seed=4, dtype=torch.float32, eta=1.0)
    other = verify(export_onnx(tmp_path / "other", tmp_path / "wrong", max_context=512), source)
    assert not any(check.passed for check in other.checks if check.bound is not None)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 1e-2)])
def test_the_model_inside_is_proved(precision: str, bound: float, tmp_path: Path) -> None:
    """Every case fits, and nothing is near its bound: 1e-4 of the largest logit and not one other token in float32."""
    bundle = export_onnx(Path("nano"), tmp_path / "nano", prove=True, precision=precision)
    proof = bundle.proof
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
    manifest_edit(lambda d: d["files"].update({"tokenizer.json": listed}))(folder)


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "colours": (lambda folder: manifest_edit(lambda d: d["pictures"].update(mean=[0, 0, 0]))(folder), "pictures is"),
    "stop tokens": (lambda folder: manifest_edit(lambda d: d["prompt"].update(stop_tokens=[9]))(folder), "prompt is"),
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
    proof = verify(
        export_onnx(checkpoint, tmp_path / "small", max_context=64, prefill_chunk=8), Source.open(checkpoint)
    )
    assert proof.passed and "several tiles" in proof.left_out
    assert {check.case for check in proof.checks if check.stage == "vision"} == {"1 tile", "7 tiles"}
    with pytest.raises(EdgeError, match="not even a short prompt"):
        export_onnx(checkpoint, tmp_path / "tiny", prove=True, max_context=33, prefill_chunk=8)
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
        export_onnx(checkpoint, tmp_path / "off", prove=True, max_context=64, phantom="rank=0")
    assert not list(tmp_path.iterdir())
    off = export_onnx(checkpoint, tmp_path / "off", max_context=64, phantom="rank=0")
    assert off.proof is None and not off.verified


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
        export_onnx(checkpoint, out, max_context=512)
    assert not out.exists() and [path.name for path in tmp_path.iterdir()] == [".bundle.unfinished"]
    stop = ""
    again = export_onnx(checkpoint, out, max_context=512)
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
            export_onnx(checkpoint, tmp_path / "bundle", max_context=512)
    assert not list(tmp_path.iterdir())  # nothing was done, so nothing is left
    with monkeypatch.context() as patched:
        patched.setattr("phantom_edge.export.pipeline.listing", stop)
        with pytest.raises(KeyboardInterrupt):
            export_onnx(checkpoint, tmp_path / "bundle", max_context=512)
    assert [path.name for path in tmp_path.iterdir()] == [".bundle.unfinished"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(EdgeError, match="exists already"):
        export_onnx(checkpoint, tmp_path / "taken", max_context=512)
    half = export_onnx(checkpoint, tmp_path / "bundle", max_context=512, precision="fp16")
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
        (parts.folder / "a").write_text("b")  # as long, and other than it was
    with unfinished(tmp_path / "bundle", about) as parts:
        assert not parts.done and parts.part("one", write) == told
    with unfinished(tmp_path / "bundle", {"model": "another"}) as parts:
        assert not parts.done


def test_a_kept_part_with_other_bytes_is_written_again(tmp_path: Path) -> None:
    """A power cut may leave the size, and zeros in place of the bytes."""

    def write(folder: Path) -> None:
        (folder / "a").write_bytes(b"a" * 5000)

    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path / "bundle", {}) as parts:
        parts.part("one", write)
        raise KeyboardInterrupt
    (parts.folder / "a").write_bytes(b"a" * 2500 + bytes(2500))
    with unfinished(tmp_path / "bundle", {}) as parts:
        parts.part("one", write)
        assert (parts.folder / "a").read_bytes() == b"a" * 5000


def test_parts_are_on_the_disk_before_they_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has written a part, and then the record that names it, when the export goes on."""
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), fsync(file)))
    with unfinished(tmp_path / "bundle", {}) as parts:
        parts.part("one", lambda folder: (folder / "a").write_text("a") and None)
        left = [path.stat().st_ino for path in (parts.folder / "a", parts.folder / "export.json")]
        assert synced[-2:] == left


def test_only_one_export_writes_a_bundle(checkpoint: Path, tmp_path: Path) -> None:
    with (
        unfinished(tmp_path / "bundle", {}) as parts,
        pytest.raises(EdgeError, match="another export is writing"),
    ):
        parts.part("one", lambda folder: (folder / "a").write_text("a") and None)
        export_onnx(checkpoint, tmp_path / "bundle", max_context=512)
    foreign = tmp_path / ".mine.unfinished"
    foreign.mkdir()
    (foreign / "diary").write_text("dear")
    with pytest.raises(EdgeError, match="was not written by phantom-edge"):
        export_onnx(checkpoint, tmp_path / "mine", max_context=512)
    assert (foreign / "diary").exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_record_that_is_no_file_is_none(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A pipe would be waited for, and a device fill the memory."""
    (tmp_path / ".bundle.unfinished").mkdir()
    make(tmp_path / ".bundle.unfinished" / "export.json")
    with unfinished(tmp_path / "bundle", {}) as parts:
        assert parts.part("one", lambda folder: (folder / "a").write_text("a")) == 1


def test_what_another_user_left_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder such as /tmp, others may know the name and put parts of their own there."""
    (tmp_path / ".bundle.unfinished").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(EdgeError, match="belongs to another user"), unfinished(tmp_path / "bundle", {}):
        pass


@pytest.mark.parametrize("record", ["[" * 100_000, '{"done": {"one": {"files": {"a": 1}}}}', '{"done": {"one": 3}}'])
def test_a_damaged_record_is_none(record: str, tmp_path: Path) -> None:
    folder = tmp_path / ".bundle.unfinished"
    folder.mkdir()
    (folder / "export.json").write_text(record.replace('{"done"', '{"about": {}, "done"'))
    with unfinished(tmp_path / "bundle", {}) as parts:
        assert not parts.done


def test_a_prompt_that_begins_otherwise_is_refused(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, prompt=replace(bundle.manifest.prompt, first_token=5))
    with pytest.raises(EdgeError, match="the prompt begins with"):
        answer_of(session_of(replace(bundle, manifest=manifest)), QUESTION, [])

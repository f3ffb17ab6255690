"""Golden files: every target's own engine passes them, planted faults do not, and damaged files are refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import export_onnx, resealed
from command_line import document, edge_inside, refusal
from PIL import Image
from target_bundles import BUNDLES, shared_bundle

import phantom_edge
from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.golden import GOLDEN, Golden, read_golden
from phantom_edge.bundle.prompt import Generation
from phantom_edge.bundle.proof import RELATIVE
from phantom_edge.export.proof import golden_pictures
from phantom_edge.export.sessions import open_session, session_of
from phantom_edge.export.targets.trials import BOUNDS, VISION
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.typed import from_json, schema, to_json
from phantom_edge.models.shipped import NANO
from phantom_edge.processing import tiling
from phantom_edge.processing.images import open_image
from phantom_edge.runtime.engine import Engine, Floats, Ints
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.self_test import Finding, SelfTest, _pieces, _prompt, self_test
from phantom_edge.runtime.session import Answer, Session
from phantom_edge.runtime.text import Text

SCHEMA = Path(phantom_edge.__file__).parent / "bundle" / "schema_golden.json"
LARGEST = 300_000
"""Bytes of nano's golden files."""

NEEDS = {
    "onnx": "onnxruntime",
    "jetson": "onnxruntime",
    "executorch": "executorch",
    "coreml": "coremltools",
    "coreai": "coreai_torch",
    "litert": "ai_edge_litert",
    "qnn": "onnxruntime_qnn",
}
SLOW = {
    "litert-fp32": pytest.mark.slow,
    "litert-int4": pytest.mark.slow,
    "executorch-fp32": pytest.mark.long,
    "executorch-int8": pytest.mark.long,
    "coreai": pytest.mark.long,
}

GetBundle = Callable[[str], Bundle]


@pytest.fixture(scope="module")
def made(place: Path) -> GetBundle:
    """Bundles by name, each exported once."""

    def get(name: str) -> Bundle:
        pytest.importorskip(NEEDS[name.partition("-")[0]])
        return shared_bundle(place, name)

    return get


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A verified bundle of nano, which answered its golden questions itself."""
    pytest.importorskip("onnxruntime")
    return export_onnx(Path("nano"), tmp_path_factory.mktemp("answered") / "bundle", prove=True, max_context=512)


class Altered:
    """An engine whose rows or inputs are changed on their way."""

    def __init__(
        self,
        engine: Engine,
        ids: Callable[[Ints], Ints] = lambda ids: ids,
        image_tokens: Callable[[Floats], Floats] = lambda rows: rows,
        pixels: Callable[[Floats], Floats] = lambda pixels: pixels,
        logits: Callable[[Floats], Floats] = lambda logits: logits,
    ) -> None:
        self.engine, self.ids, self.image_tokens, self.pixels, self.logits = engine, ids, image_tokens, pixels, logits

    def encode_images(self, pixel_values: Floats) -> Floats:
        return self.image_tokens(self.engine.encode_images(self.pixels(pixel_values)))

    def embed(self, ids: Ints) -> Floats:
        return self.engine.embed(self.ids(ids))

    def forward(self, embeds: Floats, start: int, keep: Ints) -> Floats:
        return self.logits(self.engine.forward(embeds, start, keep))


class Unmarked(Text):
    """The bundle's tokenizer and template, but the mark before a picture is forgotten."""

    def __init__(self, text: Text) -> None:
        self.__dict__ = text.__dict__

    def ids(self, messages: Any, tiles_per_image: Any, tokens_per_tile: int) -> Ints:
        found = super().ids(messages, tiles_per_image, tokens_per_tile)
        return found[found != self.tokenizer.token_to_id(self.prompt.images.start)]


def swapped(one: int, other: int) -> Callable[[Ints], Ints]:
    """A change of token ids: two rows of the table have changed places."""
    return lambda ids: np.where(ids == one, other, np.where(ids == other, one, ids))


def exchanged(rows: Floats) -> Floats:
    """Image tokens of which two neighbours, whose rows are not among the golden ones, have changed places."""
    found = rows.copy()
    found[[2, 3]] = found[[3, 2]]
    return found


def turned(rows: Floats) -> Floats:
    """Image tokens from the last to the first."""
    return np.ascontiguousarray(rows[::-1])


def swapped_rows_of_the_table(session: Session, golden: Golden, patch: pytest.MonkeyPatch) -> None:
    of_words = set(golden.questions[0].ids) - {session.manifest.prompt.image_token}
    one, other = [row.row for row in golden.embeddings if row.row in of_words][-2:]
    session.engine = Altered(session.engine, ids=swapped(one, other))


def swapped_image_tokens(session: Session, golden: Golden, patch: pytest.MonkeyPatch) -> None:
    """Neighbours are much alike: where activations are rounded to integers, only those far apart show."""
    is_rounded = golden.tolerances.image_tokens > BOUNDS["float16"][VISION]
    session.engine = Altered(session.engine, image_tokens=turned if is_rounded else exchanged)


def filtered(kind: Image.Resampling) -> Callable[..., None]:
    """Every resizing of pictures by another filter."""

    def plant(session: Session, golden: Golden, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(tiling, "_resize", lambda image, width, height: image.resize((width, height), kind))

    return plant


def missing_mark(session: Session, golden: Golden, patch: pytest.MonkeyPatch) -> None:
    session.text = Unmarked(session.text)


def turned_channels(session: Session, golden: Golden, patch: pytest.MonkeyPatch) -> None:
    session.engine = Altered(session.engine, pixels=lambda pixels: np.ascontiguousarray(pixels[:, ::-1]))


def no_numbers(session: Session, golden: Golden, patch: pytest.MonkeyPatch) -> None:
    session.engine = Altered(session.engine, logits=lambda logits: np.full_like(logits, np.nan))


FAULTS: dict[str, tuple[Callable[[Session, Golden, pytest.MonkeyPatch], None], str]] = {
    "rows of the table": (swapped_rows_of_the_table, "embeddings"),
    "image tokens": (swapped_image_tokens, "picture 1: order of image tokens"),
    "bilinear": (filtered(Image.Resampling.BILINEAR), "picture 1: tiles"),
    "lanczos": (filtered(Image.Resampling.LANCZOS), "picture 1: tiles"),
    "image mark": (missing_mark, "'one picture': token ids"),
    "channels": (turned_channels, "picture 1: image tokens"),
    "numbers": (no_numbers, "'one picture': answer"),
}
"""Faults by name, and a check that each fails."""

FEW = ("image tokens", "bilinear", "numbers")
"""Faults for an engine that is very slow: before it, behind it, and in what it gives."""

ALL = [
    *(pytest.param(name, tuple(FAULTS), id=name, marks=SLOW.get(name, ())) for name in BUNDLES),
    pytest.param("coreai", FEW, id="coreai-few", marks=pytest.mark.slow),
]
"""Bundles, and the faults planted in each."""


def names(result: SelfTest) -> list[str]:
    return [one.name for one in result.faults()]


@pytest.mark.parametrize(("name", "faults"), ALL)
def test_the_targets_engine_passes_and_a_fault_does_not(
    name: str, faults: tuple[str, ...], made: GetBundle, monkeypatch: Any
) -> None:
    bundle = made(name)
    golden = read_golden(Bundle.open(bundle.path))
    session = session_of(bundle)
    assert self_test(bundle, session).faults() == []
    assert len(golden.questions) + len(golden.left_out) == 3 and len(golden.questions) >= 2
    engine, text = session.engine, session.text
    for plant, check in map(FAULTS.__getitem__, faults):
        with monkeypatch.context() as patch:
            plant(session, golden, patch)
            result = self_test(bundle, session)
        assert check in names(result), (name, check, names(result))
        session.engine, session.text = engine, text
    assert self_test(bundle, session).passed  # nothing of the faults is left in the session


def test_reuse_is_what_a_session_reports(answered: Bundle) -> None:
    """Asked like any question, in a new session; and the second finds its picture in the cache."""
    golden, session = read_golden(answered), open_session(answered.path)
    per_tile = answered.manifest.pictures.tokens_per_tile
    for question in golden.questions:
        answer, images = Answer(), [answered.file(golden.pictures[place].file) for place in question.pictures]
        sampling = Sampling(max_new_tokens=question.max_new_tokens)
        pieces = tuple(session.ask(question.question, images, sampling, answer))
        assert answer.reused_tokens == question.reused and pieces == question.answer.pieces
        stops = answer.stopped_by == "end of turn"
        assert tuple(answer.ids[: len(answer.ids) - stops]) == question.answer.ids
    assert [question.reused > per_tile for question in golden.questions] == [False, True, False]


def test_the_files_of_nano(answered: Bundle) -> None:
    """Small, listed in the manifest, read as the schema says, with answers of both ends and the proof's bounds."""
    jsonschema = pytest.importorskip("jsonschema")
    golden, bounds = read_golden(answered), BOUNDS["float32"]
    files = {name: file.bytes for name, file in answered.manifest.files.items() if name.startswith("golden/")}
    assert set(files) == {GOLDEN, "golden/1.png", "golden/2.png"} and sum(files.values()) <= LARGEST
    assert answered.manifest.golden == GOLDEN and golden.left_out == ()
    wanted = schema(Golden, "golden/golden.json of a phantom-edge bundle")
    assert json.loads(SCHEMA.read_text()) == wanted, "run: python scripts/schemas.py"
    jsonschema.Draft202012Validator(wanted).validate(json.loads(answered.file(GOLDEN).read_text()))
    assert from_json(Golden, to_json(golden)) == golden
    assert (golden.tolerances.image_tokens, golden.tolerances.logits) == (bounds[VISION], bounds[RELATIVE])
    assert [one.answer.text for one in golden.questions][::2] == ["square", "star"]
    assert [one.answer.stopped_by for one in golden.questions] == ["end of turn", "length", "end of turn"]
    assert all(step.choice is not None for one in golden.questions for step in one.steps)
    assert [one.grid for one in golden.pictures] == [(1, 1), (2, 1)]


def test_a_verified_bundle_and_an_unverified_one_have_the_same_numbers(answered: Bundle, tmp_path: Path) -> None:
    """The bundle's answer is read by the checkpoint; without verification the checkpoint answers, in fewer steps."""
    other = read_golden(export_onnx(Path("nano"), tmp_path / "bundle", max_context=512))
    golden = read_golden(answered)
    assert (other.pictures, other.embeddings, other.tolerances) == (
        golden.pictures,
        golden.embeddings,
        golden.tolerances,
    )
    for one, two in zip(golden.questions, other.questions, strict=True):
        assert two.ids == one.ids and two.reused == one.reused
        for first, second in zip(one.steps, two.steps, strict=False):
            assert second.ids[0] == first.ids[0] and second.choice == first.choice
            assert np.allclose(second.values, first.values, atol=1e-4)


def test_a_tie_is_no_fault_and_another_answer_is_named(answered: Bundle) -> None:
    """A step without a clear choice may be decided otherwise, if its logits are right; a clear one may not."""
    golden, path = read_golden(answered), answered.file(GOLDEN)
    first = golden.questions[0]
    lowered = Altered(session_of(answered).engine)
    session = Session(answered, lowered)
    best = first.steps[0].ids[0]

    def other(logits: Floats) -> Floats:
        found = logits.copy()
        found[:, best] = -1e3
        return found

    lowered.logits = other
    assert {"'one picture': choices", "'one picture': logits"} <= set(names(self_test(answered, session)))
    tied = replace(first, steps=(replace(first.steps[0], choice=None), *first.steps[1:]))
    text = path.read_text()
    try:
        path.write_text(json.dumps(to_json(replace(golden, questions=(tied, *golden.questions[1:])))))
        found = self_test(answered, session)
        assert "'one picture': logits" in names(found) and "'one picture': choices" not in names(found)
        choices = next(one for one in found.findings if one.name == "'one picture': choices")
        assert choices.found == "another token in step 0, a tie" and "1 of them ties" in choices.expected
    finally:
        path.write_text(text)


def test_a_long_text_is_named_by_its_length_and_no_word_is_cut() -> None:
    assert _prompt("p", "one two", "one two") == Finding("p", "7 characters", "the same", True)
    assert _prompt("p", "one two", "one red").found == "7 characters, other ones from place 4 on: red"
    assert _prompt("p", "one two", "one").found == "3 characters" and not _prompt("p", "one two", "one").passed
    assert _pieces("q", ("a", " b"), ("a", " b")) == Finding("q", "2 pieces", "the same", True)
    assert _pieces("q", ("a", " b"), ("a", " c")).found == "2 pieces, other ones from place 1 on: ' c'"
    assert _pieces("q", ("a", " b"), ("a",)) == Finding("q", "2 pieces", "1 piece", False)
    said = _prompt("p", "", "hexagon " * 20).found.partition("on: ")[2]
    assert "..." in said and set(said.split()) == {"hexagon", "..."}


def test_settings_of_generation_count(tmp_path: Path) -> None:
    """Golden answers keep the checkpoint's settings, logits are those before them; a program without them differs."""
    pytest.importorskip("onnxruntime")
    shutil.copytree(NANO, tmp_path / "nano")
    config = json.loads((tmp_path / "nano/generation_config.json").read_text())
    (tmp_path / "nano/generation_config.json").write_text(json.dumps({**config, "repetition_penalty": 3.0}))
    bundle = export_onnx(tmp_path / "nano", tmp_path / "bundle", prove=True, max_context=512)
    golden, session = read_golden(bundle), session_of(bundle)
    assert any(step.choice not in (None, step.ids[0]) for one in golden.questions for step in one.steps)
    assert self_test(bundle, session).faults() == []
    session.manifest = replace(session.manifest, generation=Generation())
    assert any(name.endswith("choices") for name in names(self_test(bundle, session)))


def test_what_does_not_fit_is_left_out_by_name(checkpoint: Path, tmp_path: Path) -> None:
    """Nano takes 49 tokens for a tile: with 40 no picture fits; a tokenizer of bytes fits no question into 16."""
    pytest.importorskip("onnxruntime")
    pictures = ("one picture", "the same picture again", "several tiles")
    for model, context, left_out, asked in (
        ("nano", 100, pictures[2:], list(pictures[:2])),
        ("nano", 40, pictures, ["text alone"]),
        (checkpoint, 16, (*pictures, "text alone"), []),
    ):
        bundle = export_onnx(Path(model), tmp_path / str(context), max_context=context, prefill_chunk=16)
        golden = read_golden(bundle)
        assert golden.left_out == left_out and [one.name for one in golden.questions] == asked
        assert all(len(one.ids) + len(one.answer.ids) <= context for one in golden.questions)
        assert len(golden.pictures) == 2 and self_test(bundle, session_of(bundle)).passed


@pytest.mark.parametrize("side", [28, 112, 224, 448])
def test_pictures_are_odd_and_the_same_every_time(side: int) -> None:
    for draw, grid in ((golden_pictures.one_tile, (1, 1)), (golden_pictures.two_tiles, (2, 1))):
        picture = draw(side)
        assert picture.mode == "RGB" and picture.width % 2 and picture.height % 2
        assert tiling.choose_grid(*picture.size, tiling.Tiling(side)) == grid
        assert picture.tobytes() == draw(side).tobytes() == open_image(picture).tobytes()


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        golden = json.loads((folder / GOLDEN).read_text())
        change(golden)
        (folder / GOLDEN).write_text(json.dumps(golden))

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no JSON": (lambda folder: (folder / GOLDEN).write_text("{"), "golden.json cannot be read"),
    "no UTF-8": (lambda folder: (folder / GOLDEN).write_bytes(b"\xff\xfe"), "golden.json cannot be read"),
    "a list": (lambda folder: (folder / GOLDEN).write_text("[]"), "the document is no object"),
    "no picture": (lambda folder: (folder / "golden/1.png").write_bytes(b"nothing"), "is not a picture"),
    "half a picture": (
        lambda folder: (folder / "golden/2.png").write_bytes((folder / "golden/2.png").read_bytes()[:2000]),
        "is damaged or cut short",
    ),
    "another format": (changed(lambda d: d.update(format=2)), "format is 2"),
    "an unknown field": (changed(lambda d: d.update(more=1)), "more is not known"),
    "a picture elsewhere": (changed(lambda d: d["pictures"][0].update(file="../1.png")), "no file of the bundle"),
    "another picture": (changed(lambda d: d["questions"][0].update(pictures=[2])), "a picture that is not there"),
    "an id too large": (changed(lambda d: d["questions"][0]["ids"].append(1024)), "a token id is 1024"),
    "a negative id": (changed(lambda d: d["questions"][1]["answer"]["ids"].__setitem__(0, -1)), "a token id is -1"),
    "a row too far": (changed(lambda d: d["embeddings"][0].update(row=10**6)), "a token id is 1000000"),
    "an image token too far": (changed(lambda d: d["pictures"][0]["image_tokens"][0].update(row=49)), "49 image"),
    "a row too long": (changed(lambda d: d["embeddings"][0].update(first=[1.0] * 193)), "more than 192"),
    "a long prompt": (changed(lambda d: d["questions"][0].update(ids=[1] * 512)), "more tokens than the cache"),
    "fewer steps": (changed(lambda d: d["questions"][0]["steps"].pop()), "steps is impossible"),
    "other pieces": (changed(lambda d: d["questions"][0]["answer"].update(pieces=["a"])), "pieces is impossible"),
    "no tolerance": (changed(lambda d: d["tolerances"].update(logits=0)), "logits is impossible"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused(name: str, answered: Bundle, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    shutil.copytree(answered.path, tmp_path / "bundle")
    damage(tmp_path / "bundle")
    unsealed = edge_inside("verify", tmp_path / "bundle", "--golden")
    assert "golden/" in refusal(unsealed, name)
    resealed(tmp_path / "bundle")
    done = edge_inside("verify", tmp_path / "bundle", "--golden")
    assert message in refusal(done, name) and "export it again" in done.stderr


def test_on_the_command_line(answered: Bundle, tmp_path: Path) -> None:
    done = edge_inside("verify", answered.path, "--golden")
    assert done.returncode == 0 and "against its golden files" in done.stdout and "FAILED" not in done.stdout
    found = document("verify", answered.path, "--golden")
    assert found["passed"] and found["left_out"] == [] and found["bundle"] == str(answered.path)
    assert all(check.keys() == {"name", "expected", "found", "passed"} for check in found["checks"])
    assert phantom_edge.self_test_bundle(answered.path).passed
    shutil.copytree(answered.path, tmp_path / "bundle")
    changed(lambda d: d["questions"][2]["steps"][0]["values"].__setitem__(0, 99.0))(tmp_path / "bundle")
    resealed(tmp_path / "bundle")
    wrong = edge_inside("verify", tmp_path / "bundle", "--golden", "--json")
    assert wrong.returncode == 1 and not json.loads(wrong.stdout)["passed"]
    shown = edge_inside("verify", tmp_path / "bundle", "--golden")
    assert shown.returncode == 1 and shown.stdout.count("FAILED") == 1 and "checks failed" in shown.stderr


@pytest.mark.parametrize(
    "flags", [("--against", "nano"), ("--strict",), ("--record",), ("--html", "x.html")], ids=lambda flags: flags[0]
)
def test_flags_for_a_checkpoint_are_refused(flags: tuple[str, ...], answered: Bundle) -> None:
    assert flags[0] in refusal(edge_inside("verify", answered.path, "--golden", *flags), flags)


def test_a_bundle_without_golden_files(answered: Bundle, tmp_path: Path) -> None:
    shutil.copytree(answered.path, tmp_path / "bundle")
    resealed(tmp_path / "bundle", lambda text: text.update(golden=None))
    done = edge_inside("verify", tmp_path / "bundle", "--golden")
    assert "has no golden files" in refusal(done, "golden") and "phantom-edge export" in done.stderr


def test_neither_torch_nor_a_checkpoint_is_needed(answered: Bundle) -> None:
    code = (
        f"import sys, phantom_edge as p; assert p.self_test_bundle({str(answered.path)!r}).passed;"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_export_refuses_a_bundle_that_fails_its_own_files(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof passes, whose cases have no such fault; and an export without verification writes it, to be tested."""
    from phantom_edge.runtime import session

    tiles = session.to_pixel_values

    def darker(image: Image.Image, how: tiling.Tiling) -> Floats:
        return tiles(image.point([value // 2 for value in range(256)] * 3), how)

    monkeypatch.setattr(session, "to_pixel_values", darker)
    with pytest.raises(EdgeError, match=r"differs from its own golden files.*picture 1: tiles") as refused:
        export_onnx(checkpoint, tmp_path / "bundle", prove=True, max_context=512)
    assert "--golden" in refused.value.remedy and list(tmp_path.iterdir()) == []
    bundle = export_onnx(checkpoint, tmp_path / "bundle", max_context=512)
    assert "picture 1: tiles" in names(self_test(bundle, session_of(bundle)))

"""A reader written from the page of the bundle format alone answers as a session does, and refuses what it must."""

import ast
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import manifest_edit, resealed
from noise import noise
from PIL import Image
from standalone_pictures import decode, resize
from standalone_reader import Reader, Refusal

from phantom_edge.bundle.folder import Bundle
from phantom_edge.data.scenes.draw import draw_scene
from phantom_edge.data.scenes.questions import ask
from phantom_edge.data.scenes.sample import make_scene
from phantom_edge.export.sessions import open_session
from phantom_edge.processing.images import ORIENTATION_TAG, open_image
from phantom_edge.runtime.sampling import Sampling
from phantom_edge.runtime.session import Answer, Session

FORMS = ("fp32", "fp16", "int8", "int4", "exact8-int8-cache")
"""Bundles of the conformance data."""

SETTINGS: dict[str, dict[str, Any]] = {
    "penalty": {"repetition_penalty": 3.0},
    "n-grams": {"no_repeat_ngram": 2},
    "one-grams": {"no_repeat_ngram": 1},
    "minimum": {"min_length": 30, "min_new_tokens": 9},
    "suppressed": {"suppress_tokens": [27, 28, 494], "begin_suppress_tokens": [29, 376]},
    "all": {"repetition_penalty": 1.1, "no_repeat_ngram": 3, "min_new_tokens": 12, "suppress_tokens": [268]},
}
"""Settings that a bundle carries."""

Question = tuple[str, list[Path]]


@pytest.fixture
def copied(conformance: Path, tmp_path: Path) -> Path:
    """A bundle to be changed."""
    return shutil.copytree(conformance / "bundles" / "fp32", tmp_path / "bundle")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scenes, noise of odd sizes, and pictures that must be turned, laid over white or brought to 8 bits."""
    desk = tmp_path_factory.mktemp("pictures")
    images: dict[str, Image.Image] = {f"scene{seed}.png": draw_scene(make_scene(seed, "test")) for seed in range(6)}
    images |= {"wide.png": draw_scene(make_scene(7, "test"), 640).crop((0, 100, 640, 330))}
    for size in ((97, 251), (613, 211), (33, 12), (224, 448), (1000, 39), (900, 600)):
        images[f"noise{size[0]}.png"] = noise(size, 70)
    ramp = np.arange(300 * 210).reshape(210, 300)
    images["grey16.png"] = Image.fromarray((ramp * 13 % 65536).astype(np.uint16))
    colours = np.stack([ramp % 256, ramp // 7 % 256, ramp // 300 % 256, ramp * 3 % 256], axis=2)
    images["alpha.png"] = Image.fromarray(colours.astype(np.uint8))
    images["grey_alpha.png"] = Image.fromarray(colours.astype(np.uint8)).convert("LA")
    images["palette.png"] = images["scene3.png"].quantize(40)
    images["cmyk.jpg"] = images["scene4.png"].convert("CMYK")
    for name, image in images.items():
        image.save(desk / name)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        images["wide.png"].save(desk / f"turned{orientation}.jpg", exif=exif)
    images["palette.png"].save(desk / "clear.png", transparency=3)
    (desk / "colour16.png").write_bytes(png_of_16_bits(np.random.default_rng(0).integers(0, 65536, (90, 130, 3))))
    return {path.name: path for path in sorted(desk.iterdir())}


def png_of_16_bits(pixels: np.ndarray[Any, Any]) -> bytes:
    """A PNG of (height, width, 3) channels of 16 bits, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


@pytest.fixture(scope="module")
def questions(pictures: dict[str, Path]) -> list[Question]:
    """60 questions: two about a picture one after the other, about two, several tiles, marks in the text, none."""
    found: list[Question] = []
    for seed in range(6):
        asked = [one.text for one in ask(make_scene(seed, "test"))]
        found += [(text, [pictures[f"scene{seed}.png"]]) for text in asked[:5]]
    found += [("What is in the picture?", [path]) for name, path in pictures.items() if not name.startswith("scene")]
    two, same = [pictures["scene0.png"], pictures["noise613.png"]], [pictures["alpha.png"]] * 2
    found += [("Which one has a circle?", two), ("And which has none?", two), ("Are they equal?", same)]
    found += [("First <image>, then <image>: what differs?", two), ("First <image>, then <image>?", two[::-1])]
    found += [("What is 3 + 4?", []), ("What is 3 + 5?", []), ("Où est le café ? 日本 🙂", []), ("Why?", two[:1])]
    assert len(found) >= 60
    return found


def session_answer(session: Session, question: Question, tokens: int) -> tuple[Answer, list[str]]:
    answer = Answer()
    pieces = list(session.ask(*question, Sampling(max_new_tokens=tokens), answer))
    return answer, pieces


def assert_same(reader: Reader, session: Session, question: Question, tokens: int = 24) -> int:
    """Asks both, and returns how many tokens of the prompt were reused."""
    want, pieces = session_answer(session, question, tokens)
    found = reader.ask(*question, tokens)
    stops = session.manifest.prompt.stop_tokens
    assert found.ids == [token for token in want.ids if token not in stops], question
    assert (found.text, found.pieces) == (want.text, pieces), question
    assert (found.prompt_tokens, found.reused_tokens) == (want.prompt_tokens, want.reused_tokens), question
    assert "".join(found.pieces) == found.text
    return found.reused_tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "step"),
    [(form, 1 if form == "int8" else 3) for form in FORMS]
    + [pytest.param(form, 1, marks=pytest.mark.long) for form in FORMS],
)
def test_answers_are_the_sessions(form: str, step: int, conformance: Path, questions: list[Question]) -> None:
    """Of one form all questions; of the others every third one, and all in long tests."""
    folder = conformance / "bundles" / form
    reader, session = Reader(folder), open_session(folder)
    reused = [assert_same(reader, session, question) for question in questions[::step]]
    least = len(questions) // 3 if step == 1 else 1
    assert sum(tokens > session.manifest.pictures.tokens_per_tile for tokens in reused) > least


@pytest.mark.parametrize("name", SETTINGS)
def test_generation_settings(name: str, copied: Path, questions: list[Question]) -> None:
    """Each setting changes answers, and changes them in both alike."""
    plain = Reader(copied)
    resealed(copied, lambda manifest: manifest["generation"].update(SETTINGS[name]))
    reader, session, asked = Reader(copied), open_session(copied), questions[:2] + questions[-4:]
    for question in asked:
        assert_same(reader, session, question)
    assert any(plain.ask(*question, 24) != reader.ask(*question, 24) for question in asked[::-1])


def test_the_template_as_jinja(copied: Path, questions: list[Question]) -> None:
    """Without `turns` the same prompts come from Jinja."""
    written = Reader(copied)
    assert written.manifest["prompt"]["turns"] is not None
    resealed(copied, lambda manifest: manifest["prompt"].update(turns=None))
    rendered = Reader(copied)
    for question in questions[-5:]:
        assert written.ask(*question, 8) == rendered.ask(*question, 8)


def test_a_full_cache_ends_the_answer(copied: Path) -> None:
    """The token chosen when the cache is full is still part of the answer."""
    question: Question = ("What is 3 + 4, and why?", [])
    tokens = Reader(copied).ask(*question, 1).prompt_tokens

    def change(manifest: Any) -> None:
        manifest["cache"]["max_context"], manifest["prefill_chunk"] = tokens + 3, 4
        manifest["generation"]["min_new_tokens"] = 9

    resealed(copied, change)
    reader, session = Reader(copied), open_session(copied)
    assert_same(reader, session, question)
    assert len(reader.ask(*question, 24).ids) == 4


def test_a_conversation_goes_on_in_the_cache(copied: Path, pictures: dict[str, Path]) -> None:
    """The last token of an answer that reached its limit is not in the cache; the others are."""
    reader, session = Reader(copied), open_session(copied)
    messages = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "<image>What is this?"}]
    images = [pictures["wide.png"]]
    for limit in (3, 24):
        want = Answer()
        text = "".join(session.generate(messages, images, Sampling(max_new_tokens=limit), want))
        found = reader.answer(messages, images, limit)
        assert (found.text, found.reused_tokens) == (text, want.reused_tokens)
        more = [{"role": "assistant", "content": text}, {"role": "user", "content": "And why?"}]
        messages = [*messages, *more]


def test_pictures_are_decoded_alike(pictures: dict[str, Path]) -> None:
    for name, path in pictures.items():
        assert np.array_equal(decode(path, [255, 255, 255]), np.asarray(open_image(path))), name


@pytest.mark.parametrize("size", [(640, 480), (33, 700), (1, 1), (5, 900), (1100, 40), (224, 224)])
def test_the_formula_of_resizing_is_pillows(size: tuple[int, int]) -> None:
    """Bit for bit, one axis after the other; one call for both may shorten a picture before it widens it."""
    pixels = np.random.default_rng(size).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    bicubic = Image.Resampling.BICUBIC
    for width, height in ((224, 224), (1344, 224), (448, 672)):
        whole = Image.fromarray(pixels).resize((width, size[1]), bicubic).resize((width, height), bicubic)
        assert np.array_equal(resize(pixels, width, height), np.asarray(whole))


def test_the_reader_stands_alone() -> None:
    """Neither it nor its parts import anything of the project."""
    support = Path(__file__).parent / "support"
    allowed = {"numpy", "onnxruntime", "tokenizers", "jinja2", "PIL", *sys.stdlib_module_names}
    for path in support.glob("standalone_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed or name.startswith("standalone_"), (path.name, name)


def flipped(name: str) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return damage


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-7])


def outside(manifest: dict[str, Any]) -> None:
    manifest["prompt"]["tokenizer"] = "../tokenizer.json"
    manifest["files"]["../tokenizer.json"] = manifest["files"]["tokenizer.json"]


FILES = ("vision.onnx", "vision.data", "decoder.onnx", "decoder.data", "tokenizer.json", "chat_template.jinja")
DAMAGE: dict[str, Callable[[Path], object]] = {
    **{f"{name} flipped": flipped(name) for name in (*FILES, "phantom.json")},
    **{f"{name} cut": cut(name) for name in (*FILES, "phantom.json")},
    "missing": lambda folder: (folder / "vision.data").unlink(),
    "not listed": manifest_edit(lambda manifest: manifest["files"].pop("decoder.data")),
    "outside": manifest_edit(outside),
    "other version": manifest_edit(lambda manifest: manifest.update(schema_version=3)),
    "other layout": manifest_edit(lambda manifest: manifest["cache"].update(layout="graph state")),
    "other setting": manifest_edit(lambda manifest: manifest["generation"].update(temperature_floor=1)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_bundles_are_refused(name: str, copied: Path) -> None:
    Reader(copied)
    DAMAGE[name](copied)
    with pytest.raises(Refusal):
        Reader(copied)


def test_questions_are_refused(copied: Path, pictures: dict[str, Path], conformance: Path) -> None:
    """Reserved texts, marks without pictures, prompts that are too long, and ids and first tokens that do not fit."""
    reader, image = Reader(copied), [pictures["scene0.png"]]
    for reserved in Bundle.open(copied).manifest.prompt.reserved:
        with pytest.raises(Refusal, match="contains"):
            reader.ask(f"What is {reserved}?", image)
    for text, images in (("<image>?", []), ("<image> <image>?", image), ("<image>?", image * 2)):
        with pytest.raises(Refusal, match="marks for"):
            reader.ask(text, images)
    with pytest.raises(Refusal, match="too long"):
        reader.ask("circle " * 3000)
    resealed(copied, lambda manifest: manifest["prompt"].update(first_token=7))
    with pytest.raises(Refusal, match="begins with another token"):
        Reader(copied).ask("Why?")
    assert reader.ask("Why?", (), 4) == Reader(conformance / "bundles" / "fp32").ask("Why?", (), 4)

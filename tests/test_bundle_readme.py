"""READMEs of bundles: every target has one, its sizes are true, and its programs are the files that tests run."""

import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest
from bundles import export_onnx
from export_settings import settings_for

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.programs import LANGUAGES
from phantom_edge.export.readme import README, Example, megabytes, readme_of, shortened
from phantom_edge.export.targets import TARGETS

EXPORT = Path(__file__).parents[1] / "export"
BLOCK = re.compile(r"^`([\w.]+)`:\n\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LARGEST = 120
"""Maximum size of a README, kB."""

SCRIPTS = {"steps.mjs", "words.mjs", "pictures.mjs", "numbers.mjs", "decoded.mjs"}
PROGRAMS = {
    "onnx": {"answer.py", "answer.mjs", *SCRIPTS, "Answer.kt", "Pictures.kt", "Words.kt", "Answer.swift"},
    "coreml": {"Answer.swift", "Steps.swift", "Pictures.swift", "Words.swift"},
    "coreai": {"Answer.swift", "Steps.swift", "Pictures.swift", "Words.swift"},
    "executorch": {"Answer.kt", "Bitmaps.kt", "Pictures.kt", "Words.kt", "Answer.swift"},
    "jetson": {"board.py", "answer.py"},
    "qnn": {"Answer.kt", "Bitmaps.kt", "Pictures.kt", "Words.kt"},
    "litert": {"Answer.kt", "Bitmaps.kt", "Pictures.kt"},
    "web": {"answer.mjs", "bundle.mjs", "page.mjs", "index.html", *SCRIPTS},
}


def test_every_target_has_programs() -> None:
    assert PROGRAMS.keys() == TARGETS.keys()


@pytest.fixture(scope="module")
def made(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """The checkpoint's bundle for a target, exported once."""
    desk = tmp_path_factory.mktemp("readmes")

    @cache
    def get(target: str) -> Bundle:
        settings = settings_for(target, max_context=128)
        return export_bundle(str(checkpoint), target, desk / target, settings, prove=False).bundle

    return get


@pytest.mark.parametrize("target", [name for name in PROGRAMS if name != "qnn"])
def test_readme_of_a_bundle(target: str, checkpoint: Path, made: Callable[[str], Bundle]) -> None:
    if target == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT (ai-edge-litert) is not installed")
    bundle = made(target)
    check(bundle, target)
    check_privacy(bundle, checkpoint)


def check_privacy(bundle: Bundle, checkpoint: Path) -> None:
    """No file of a bundle holds a path of the machine that exported it."""
    assert bundle.manifest.model.name == checkpoint.name
    private = [str(path).encode() for path in (bundle.path.parent, checkpoint.parent, Path.home(), EXPORT)]
    for path in bundle.path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [place for place in private if place in content], path


def check(bundle: Bundle, target: str) -> None:
    """The README is listed with its digest, names no folder of this machine, has true sizes and the rooms' programs."""
    text = (bundle.path / README).read_text(encoding="utf-8")
    assert README in bundle.manifest.files and text.startswith("# ")
    assert str(bundle.path.parent) not in text and len(text) < LARGEST * 1000
    for name, file in bundle.manifest.files.items():
        assert name == README or f"\n| {name} | {megabytes(file.bytes)} |\n" in text
        assert (bundle.path / name).stat().st_size == file.bytes
    shown = BLOCK.findall(text)
    assert {name for name, _, _ in shown} >= PROGRAMS[target]
    for name, language, code in shown:
        places = [EXPORT / "programs" / name, *EXPORT.glob(f"targets/*/programs/{name}")]
        assert code in [place.read_text(encoding="utf-8") for place in places if place.exists()], name
        assert language == LANGUAGES[Path(name).suffix]
    assert text.count("\n```") == 2 * len(shown) + text.count("\n```sh") * 2
    for part in bundle.manifest.parts:
        assert f"\n| {part} | " in text


def test_integers_are_named(checkpoint: Path, tmp_path: Path) -> None:
    from phantom_edge.quantize.quantize import quantize_checkpoint
    from phantom_edge.quantize.recipe import read_recipe

    quantize_checkpoint(checkpoint, read_recipe("int8"), tmp_path / "eight", name="int8")
    bundle = export_onnx(tmp_path / "eight", tmp_path / "bundle", max_context=64)
    text = (bundle.path / README).read_text(encoding="utf-8")
    assert "| weights | recipe int8 (rtn): " in text and "session.x64quantprecision" in text


def test_float16_names_the_runtime_that_sums_in_it(bundle: Bundle, checkpoint: Path, tmp_path: Path) -> None:
    half = export_onnx(checkpoint, tmp_path / "half", max_context=64, precision="fp16")
    assert "Leave out ONNX Runtime 1.29" in (half.path / README).read_text(encoding="utf-8")
    assert "1.29" not in (bundle.path / README).read_text(encoding="utf-8")


def test_the_worked_example(bundle: Bundle) -> None:
    ids = [1, 34, *[5] * 49, 4, 7, 7, 2]
    example = Example("golden/0.png", "Is it a | ?", "<|im_start|>user\n<image>Is it?", ids, "yes\nno")
    text = readme_of(bundle.manifest, "a test", "## Run\n", example=example)
    assert "| token ids, 55 | `[1, 34, (49 x 5), 4, 7, 7, 2]` |" in text
    assert "| question | Is it a \\| ? |" in text and "user\\n<image>Is it?" in text and "| answer | yes\\nno |" in text
    assert text.endswith("|\n\n## Run\n")
    assert "Worked example" not in readme_of(bundle.manifest, "a test", "")
    assert shortened([]) == "[]" and shortened([5, 5]) == "[5, 5]"


def test_an_unproved_bundle_says_why(bundle: Bundle) -> None:
    text = readme_of(bundle.manifest, "a test", "", unproved="nothing here runs it")
    assert "could not be compared at export: nothing here runs it." in text


@pytest.mark.parametrize("program", sorted(EXPORT.glob("**/programs/*.*")), ids=lambda path: "/".join(path.parts[-3:]))
def test_programs_hold_no_model(program: Path) -> None:
    """Programs name nothing of this package, read sizes from the manifest, and their brackets fit."""
    text = program.read_text(encoding="utf-8")
    assert not re.search(r"phantom_edge|<\|?im_start|IMG_CONTEXT|\b(224|448|0\.485|0\.229)\b", text)
    assert all(len(line) <= 120 for line in text.splitlines())
    if program.suffix in (".swift", ".kt", ".mjs"):
        bare = re.sub(r"//[^\n]*|/\*.*?\*/|`[^`\n]*`|\"(?:\\\([^\n]*?\)|\\.|[^\"\\\n])*\"", "", text, flags=re.DOTALL)
        assert [bare.count(one) for one in "{[("] == [bare.count(one) for one in "}])"]


PORTS = re.compile(r'"(pixel_values|image_tokens|inputs_embeds|position_ids|logits_to_keep|cosines|sines|mask|hidden)"')


@pytest.mark.parametrize("target", ["coreml", "coreai"])
def test_swift_feeds_ports_that_exist(target: str, made: Callable[[str], Bundle]) -> None:
    """No Swift is compiled here: at least the names that its loop feeds and reads are those of the functions."""
    manifest = made(target).manifest
    named = set(PORTS.findall((EXPORT / "targets/coreml/programs/Steps.swift").read_text()))
    known = {port.name for part in manifest.parts.values() for port in (*part.inputs, *part.outputs)}
    assert len(named) >= 7 and named <= known
    fed = known - {"start"} - {name for name in known if name.startswith(("past_", "new_", "logits"))}
    assert fed <= named


def test_programs_are_in_the_package() -> None:
    """They are read as files of the package, wherever that lies; a wheel has them (test_packaging)."""
    assert (files("phantom_edge.export.programs") / "Pictures.kt").is_file()
    assert (files("phantom_edge.export.targets.onnx.programs") / "answer.mjs").is_file()

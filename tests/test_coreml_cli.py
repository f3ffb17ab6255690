"""Core ML bundles from the command line: exported, proved, asked, stopped in the middle, and refused in one line."""

import shutil
from pathlib import Path

import pytest
from bundles import resealed
from command_line import document, edge, edge_inside, interrupted
from noise import noise
from random_checkpoints import write_checkpoint

from phantom_edge.bundle.folder import Bundle

pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, its bundle, and a photo."""
    desk = tmp_path_factory.mktemp("coreml")
    write_checkpoint(desk / "checkpoint")
    done = edge(*export(desk / "checkpoint", desk / "bundle"))
    assert done.returncode == 0, done.stderr
    assert "decoder.mlpackage" in done.stdout and "unverified" not in done.stdout
    assert "coremltools" not in done.stderr and "scikit" not in done.stderr  # what its import has to say
    words = Bundle.open(desk / "bundle").manifest.model.vocab_size
    assert f"only the first {words:,} are words" in (desk / "bundle" / "README.md").read_text()
    noise((200, 90), 80).save(desk / "photo.png")
    return desk


def export(checkpoint: Path, out: Path, *more: object) -> tuple[object, ...]:
    size = ("--max-context", 160, "--prefill-chunk", 32)
    return ("export", checkpoint, "--target", "coreml", "--out", out, *size, *more)


@pytest.mark.slow
def test_it_is_asked_like_any_bundle(desk: Path) -> None:
    """The interpreter rounds to float16, the checkpoint does not: they may part, but not at once."""
    arguments = ("--image", desk / "photo.png", "--max-new-tokens", 3, "What is it?")
    ours, theirs = (document("run", "--model", desk / name, *arguments) for name in ("bundle", "checkpoint"))
    assert ours["prompt_tokens"] == theirs["prompt_tokens"] and ours["tokens"] == theirs["tokens"] == 3


@pytest.mark.slow
def test_verify_tells_of_float16_inside_operators(desk: Path) -> None:
    found = document("verify", desk / "bundle", "--strict")
    assert found["passed"] and {check["stage"] for check in found["checks"]} == {
        f"{mode}{stage}" for mode in ("", "exact ", "strict ") for stage in ("vision", "prefill", "decode")
    }
    parts = {"part", "operator", "kind", "nans", "overflows", "masked_rows", "vanished", "subnormal"}
    assert all(hazard.keys() == parts for hazard in found["hazards"])


def test_where_no_place_is_given_it_is_named_after_model_and_target(desk: Path, tmp_path: Path) -> None:
    """The README's command, with nothing but the target, is run by its own test."""
    for problem in ("", "checkpoint-coreml exists already"):
        done = edge_inside("export", desk / "checkpoint", "--target", "coreml", "--no-verify", cwd=tmp_path)
        assert done.returncode == bool(problem) and problem in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-coreml"]


def test_two_exports_are_the_same_bytes(desk: Path, tmp_path: Path) -> None:
    """All but golden answers, which are shorter where no engine of the bundle gave them, and their README."""
    done = edge_inside(*export(desk / "checkpoint", tmp_path / "again", "--no-verify"))
    assert done.returncode == 0, done.stderr
    ours, theirs = (Bundle.open(path).manifest.files for path in (tmp_path / "again", desk / "bundle"))
    answers = ("golden/golden.json", "README.md")
    assert ours.keys() == theirs.keys()
    assert all(ours[name] == theirs[name] for name in ours if name not in answers)


def test_a_stopped_export_leaves_no_bundle_and_goes_on(desk: Path, tmp_path: Path) -> None:
    package = tmp_path / ".out.unfinished" / "decoder.mlpackage"
    code, complaint = interrupted(export(desk / "checkpoint", tmp_path / "out"), package.exists)
    assert code == 130 and "Traceback" not in complaint and "goes on" in complaint
    assert [path.name for path in tmp_path.iterdir()] == [".out.unfinished"]
    done = edge_inside(*export(desk / "checkpoint", tmp_path / "out", "--no-verify"))
    assert done.returncode == 0 and [path.name for path in tmp_path.iterdir()] == ["out"]


WRONG: dict[str, tuple[tuple[object, ...], str]] = {
    "compute": (("--compute", "tpu"), "--compute is tpu"),
    "ios": (("--ios", "16"), "--ios is 16"),
    "fp32": (("--weights", "fp32"), "computes in fp16"),
    "state on 17": (("--ios", "17", "--compute", "gpu"), "iOS 17 does not have"),
    "int8 cache": (("--cache", "int8"), "--cache is for target onnx"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_wishes_are_one_line_and_nothing_is_written(name: str, desk: Path, tmp_path: Path) -> None:
    more, problem = WRONG[name]
    done = edge_inside(*export(desk / "checkpoint", tmp_path / "out", *more))
    assert done.returncode in (1, 2) and problem in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def cut(folder: Path) -> None:
    file = folder / "decoder.mlpackage/Data/com.apple.CoreML/model.mlmodel"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def swapped(folder: Path) -> None:
    shutil.rmtree(folder / "decoder.mlpackage")
    shutil.copytree(folder / "vision.mlpackage", folder / "decoder.mlpackage")


DAMAGE = {"cut in half": cut, "another package": swapped}


@pytest.mark.parametrize("reseal", [False, True])
@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_package_is_refused(name: str, reseal: bool, desk: Path, tmp_path: Path) -> None:
    """By its SHA-256; and where somebody wrote those anew, by what is in it."""
    shutil.copytree(desk / "bundle", tmp_path / "bundle")
    DAMAGE[name](tmp_path / "bundle")
    if reseal:
        resealed(tmp_path / "bundle")
    done = edge_inside("run", "--model", tmp_path / "bundle", "Who are you?")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    problems = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(problems) == 1 and "decoder.mlpackage" in problems[0]

"""The Kotlin library for Android gives what this package gives: its own tests, on a JVM with the real ONNX Runtime."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import faults

ROOT = Path(__file__).resolve().parents[1]
ANDROID = ROOT / "apps" / "android"
PATIENCE = 1200
"""Maximum seconds for packages, compilation and tests."""

ABSENT = re.compile("Could not (resolve|transfer|find)|could not be resolved|Non-resolvable|Unknown host")
"""Maven's words where its registry does not bring a package."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conformance data, made now."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here, which compiles and tests the Kotlin library")
    folder = tmp_path_factory.mktemp("conformance") / "made"
    words = [sys.executable, str(ROOT / "scripts" / "conformance.py"), str(folder)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def tested(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the library after its tests, which passed; a copy, so that no two builds meet."""
    desk = tmp_path_factory.mktemp("android")
    shutil.copytree(ANDROID, desk / "apps" / "android", ignore=shutil.ignore_patterns("target"))
    (desk / "export" / "targets").mkdir(parents=True)
    shutil.copytree(ROOT / "export" / "targets" / "onnx", desk / "export" / "targets" / "onnx")
    pom = desk / "apps" / "android" / "pom.xml"
    words = ["mvn", "-q", "-B", "-f", str(pom), "-Plint", "test", f"-Dphantom.golden={made}"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if ran.returncode and ABSENT.search(ran.stdout):
        pytest.skip("Maven does not bring the packages of the Kotlin library")
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-6000:]
    return pom.parent / "phantom"


def test_the_library_passes_its_tests(tested: Path, made: Path) -> None:
    """On enough data of every kind."""
    reports = [path.read_text(encoding="utf-8") for path in (tested / "target" / "surefire-reports").glob("TEST-*.xml")]
    tests = [int(re.search(r'<testsuite [^>]*tests="(\d+)"', one)[1]) for one in reports]  # type: ignore[index]
    assert len(reports) >= 7 and sum(tests) >= 45

    def data(name: str) -> dict[str, list[object]]:
        found: dict[str, list[object]] = json.loads((made / name).read_text(encoding="utf-8"))
        return found

    assert len(data("pictures.json")["pictures"]) >= 60 and len(data("texts.json")["texts"]) >= 300
    assert len(data("answers.json")["asked"]) >= 60 and len(data("damaged.json")) >= 30


def test_its_profile_is_read_as_any_other(tested: Path) -> None:
    """The lines of the library make a whole profile."""
    gathering = Gathering()
    for line in (tested / "target" / "profile.jsonl").read_text(encoding="utf-8").splitlines():
        gathering.take(line)
    assert gathering.is_whole
    run = gathering.run(2)
    assert not list(faults(run))
    assert [stage.name for stage in run.stages] == ["load", "vision", "prefill", "decode"]
    assert len(run.answers) == 3 and [depth.context for depth in run.depths] == [64, 100]
    stages = {"preprocess", "words", "vision", "prefill", "decode", "choose"}
    assert all(answer.stages.keys() == stages and 0 < answer.accounted_share <= 1.001 for answer in run.answers)
    assert run.peak_bytes and run.untold and run.readings[0].battery == 80.0


def test_bytecode_is_for_android(tested: Path) -> None:
    """Java 8's, without the dynamic calls that dx does not take; and every class of the library is there."""
    classes = list((tested / "target" / "classes").rglob("*.class"))
    assert len(classes) > 150
    for path in classes:
        content = path.read_bytes()
        assert int.from_bytes(content[6:8], "big") == 52, path
        assert b"LambdaMetafactory" not in content and b"StringConcatFactory" not in content, path
    assert any(path.name == "AndroidPicturesKt.class" for path in classes)

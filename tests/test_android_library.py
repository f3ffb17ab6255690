"""The Kotlin library and the demo app for Android: their own tests, with the real ONNX Runtime, and the APK."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import pytest
from once import made_once
from other_languages import loaded
from PIL import Image
from registries import PATIENCE, fetch, run

from phantom_edge.bundle.node_names import ATTENTION, MLP, NORMS, PHANTOM, PROJECTOR
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import faults

ROOT = Path(__file__).resolve().parents[1]
ANDROID = ROOT / "apps" / "android"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE)]


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest) -> Path:
    """Conformance data, made now."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here, which compiles and tests the Kotlin library")
    found: Path = request.getfixturevalue("conformance")
    return found


@pytest.fixture(scope="module")
def tested(made: Path, place: Path) -> Path:
    """The folder of the library after its tests, which passed: a copy, tested once for all processes of a run."""
    desk = made_once(place, "android", partial(build_and_test, made))
    return desk / "apps" / "android" / "phantom"


def build_and_test(made: Path, desk: Path, *options: str) -> None:
    """Copies library and app into ``desk``, and runs their tests."""
    shutil.copytree(ANDROID, desk / "apps" / "android", ignore=shutil.ignore_patterns("target"))
    (desk / "export" / "targets").mkdir(parents=True)
    shutil.copytree(ROOT / "export" / "targets" / "onnx", desk / "export" / "targets" / "onnx")
    pom = desk / "apps" / "android" / "pom.xml"
    words = ["mvn", "-q", "-B", "-f", str(pom), "-Plint", "test", f"-Dphantom.golden={made}"]
    words.append("-Dkotlin.compiler.daemon=false")  # which would outlive the run
    words += options if options or shutil.which("aapt2") else ("-pl", "phantom")
    fetch(words, desk, "the packages of the Kotlin library")


def counted(module: Path) -> tuple[int, int]:
    """Test classes and tests of a Maven module that ran."""
    reports = [path.read_text(encoding="utf-8") for path in (module / "target" / "surefire-reports").glob("TEST-*.xml")]
    tests = [int(re.search(r'<testsuite [^>]*tests="(\d+)"', one)[1]) for one in reports]  # type: ignore[index]
    return len(reports), sum(tests)


@pytest.fixture(scope="module")
def app(tested: Path) -> Path:
    """The folder of the app after its tests, which passed."""
    if shutil.which("aapt2") is None:
        pytest.skip("no aapt2 here (Debian's package aapt), which compiles the app's resources")
    return tested.parent / "app"


def test_the_library_passes_its_tests(tested: Path, made: Path) -> None:
    """On enough data of every kind."""
    reports, tests = counted(tested)
    assert reports >= 7 and tests >= 49

    def data(name: str) -> dict[str, list[object]]:
        found: dict[str, list[object]] = json.loads((made / name).read_text(encoding="utf-8"))
        return found

    assert len(data("pictures.json")["pictures"]) >= 60 and len(data("texts.json")["texts"]) >= 300
    assert len(data("answers.json")["asked"]) >= 25 and len(data("damaged.json")) >= 30


@pytest.mark.long
def test_the_library_answers_all_questions(made: Path, whole_conformance: Path, tmp_path: Path) -> None:
    """Those of the conformance data of which the others are few."""
    build_and_test(whole_conformance, tmp_path, "-pl", "phantom", "-Dtest=AnswersTest")
    asked, few = (json.loads((one / "answers.json").read_text())["asked"] for one in (whole_conformance, made))
    assert counted(tmp_path / "apps" / "android" / "phantom")[0] == 1 and len(asked) >= 60 > 1.5 * len(few)


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
    assert run.peak_bytes and run.readings[0].battery == 80.0
    assert run.device.bandwidth and run.device.products
    parts = ["vision, a tile", "prefill, 64 tokens", "a token behind 64", "a token behind 100"]
    assert not run.untold and [one.part for one in run.traced] == parts
    for part in parts:
        places = {one.group for one in run.operators if one.part == part}
        assert places >= {ATTENTION, MLP, NORMS, PROJECTOR if part == parts[0] else PHANTOM}


def test_the_graph_of_its_limits_is_that_of_the_script(tested: Path) -> None:
    """The product of matrices by which it measures bandwidth and multiply-adds."""
    script = loaded(ROOT / "scripts" / "matmul.py")
    assert (tested / "target" / "classes" / "matmul.onnx").read_bytes() == script.graph().SerializeToString()


def test_bytecode_is_for_android(tested: Path) -> None:
    """Java 8's, without the dynamic calls that dx does not take; and every class of the library is there."""
    classes = list((tested / "target" / "classes").rglob("*.class"))
    assert len(classes) > 150
    for path in classes:
        content = path.read_bytes()
        assert int.from_bytes(content[6:8], "big") == 52, path
        assert b"LambdaMetafactory" not in content and b"StringConcatFactory" not in content, path
    assert any(path.name == "AndroidPicturesKt.class" for path in classes)


SCREENS = (
    *("conversation", "interrupted", "camera", "self_test", "proof", "benchmark", "measurement", "bundles"),
    "conversation_dark_large",
)


def test_the_app_passes_its_tests(app: Path) -> None:
    """Its screens, started under Robolectric with answers of the model inside; each has left a picture."""
    reports, tests = counted(app)
    assert reports >= 6 and tests >= 31
    for name in SCREENS:
        with Image.open(app / "target" / "screenshots" / f"{name}.png") as picture:
            colours = picture.convert("RGB").getcolors(1 << 24)
            assert min(picture.size) >= 800 and colours is not None and len(colours) > 20, name


def build_apk(app: Path, made: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs scripts/apk.py on the tested app."""
    for tool in ("apksigner", "keytool"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here, which signs the APK")
    words = [sys.executable, str(ROOT / "scripts" / "apk.py"), "--android", str(app.parent), "--out", str(out)]
    words += ["--bundle", str(made / "bundles" / "fp16"), *more]
    return run(words, ROOT)


def made_up_aar(folder: Path, page: int) -> Path:
    """An AAR with a class and libraries that were compiled now, for pages of so many bytes."""
    for tool in ("gcc", "javac", "jar"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here, which makes a part of the AAR")
    java, classes = folder / "MadeUp.java", folder / "classes.jar"
    java.write_text("package ai.onnxruntime; public class MadeUp {}\n", encoding="utf-8")
    compiled = str(folder / "compiled")
    subprocess.run(["javac", "--release", "8", "-d", compiled, str(java)], check=True, timeout=60, capture_output=True)
    subprocess.run(["jar", "cf", str(classes), "-C", compiled, "ai"], check=True, timeout=60)
    source, library, aar = folder / "empty.c", folder / f"libonnxruntime{page}.so", folder / f"{page}.aar"
    source.write_text("int nothing(void) { return 0; }\n", encoding="utf-8")
    link = ["gcc", "-shared", f"-Wl,-z,max-page-size={page}", "-o", str(library), str(source)]
    subprocess.run(link, check=True, timeout=60)
    with zipfile.ZipFile(aar, "w") as archive:
        archive.write(classes, "classes.jar")
        for abi in ("arm64-v8a", "x86_64", "x86"):
            archive.write(library, f"jni/{abi}/libonnxruntime.so")
    return aar


def test_the_apk_without_an_engine_is_whole_and_says_so(app: Path, made: Path, tmp_path: Path) -> None:
    """Signed, with nano inside, the camera and the network as its only permissions, and no library."""
    apk = tmp_path / "phantom.apk"
    ran = build_apk(app, made, apk)
    assert ran.returncode == 0, ran.stderr
    assert "It has no ONNX Runtime" in ran.stderr
    checked = subprocess.run(["apksigner", "verify", "--verbose", str(apk)], capture_output=True, text=True, check=True)
    assert "v2 scheme (APK Signature Scheme v2): true" in checked.stdout
    badging = subprocess.run(["aapt2", "dump", "badging", str(apk)], capture_output=True, text=True, check=True).stdout
    permissions = re.findall(r"uses-permission: name='([^']+)'", badging)
    assert permissions == ["android.permission.CAMERA", "android.permission.INTERNET"]
    assert "sdkVersion:'26'" in badging and "targetSdkVersion:'35'" in badging
    assert "launchable-activity: name='phantom.edge.app.screens.ConversationActivity'" in badging
    with zipfile.ZipFile(apk) as archive:
        names = archive.namelist()
        dex = archive.read("classes.dex")
        with archive.open("assets/nano.zip") as nano, zipfile.ZipFile(nano) as bundle:
            assert "phantom.json" in bundle.namelist()
    assert "classes2.dex" not in names and not [name for name in names if name.endswith(".so")]
    for name in ("phantom/edge/app/PhantomApp", "phantom/edge/Phantom", "ai/onnxruntime/OrtTrainingSession"):
        assert f"L{name};".encode() in dex
    assert b"LambdaMetafactory" not in dex  # Android has none
    assert {"byte_products.onnx", "matmul.onnx"} <= set(names) and apk.stat().st_size < 60_000_000
    manifest = ["aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", str(apk)]
    tree = subprocess.run(manifest, capture_output=True, text=True, check=True).stdout
    assert "E: instrumentation" in tree and ".profile.Measurement" in tree  # which phantom-edge profile starts
    if shutil.which("dexdump"):
        dumped = tmp_path / "classes.dex"
        dumped.write_bytes(dex)
        said = subprocess.run(["dexdump", "-f", str(dumped)], capture_output=True, timeout=300, check=True)
        assert b"DEX version '038'" in said.stdout + said.stderr


@pytest.mark.long
def test_the_apk_with_an_aar_has_its_libraries_on_pages_of_16_kb(app: Path, made: Path, tmp_path: Path) -> None:
    """For both phones' processors."""
    apk = tmp_path / "phantom.apk"
    aar = made_up_aar(tmp_path, 16384)
    ran = build_apk(app, made, apk, "--aar", str(aar))
    assert ran.returncode == 0 and "no ONNX Runtime" not in ran.stderr, ran.stderr
    with zipfile.ZipFile(apk) as archive, apk.open("rb") as stream:
        dex = archive.read("classes.dex")
        assert b"Lai/onnxruntime/MadeUp;" in dex  # the AAR's classes, not the desktops'
        assert b"Lai/onnxruntime/OrtTrainingSession;" not in dex
        found = [item for item in archive.infolist() if item.filename.endswith(".so")]
        assert [one.filename for one in found] == [f"lib/{abi}/libonnxruntime.so" for abi in ("arm64-v8a", "x86_64")]
        for item in found:
            assert item.compress_type == zipfile.ZIP_STORED
            place = stream.seek(item.header_offset + 26)
            name, extra = int.from_bytes(stream.read(2), "little"), int.from_bytes(stream.read(2), "little")
            assert (place + 4 + name + extra) % 16384 == 0
            stream.seek(place + 4 + name + extra)
            assert stream.read(4) == b"\x7fELF"
    subprocess.run(["apksigner", "verify", str(apk)], capture_output=True, timeout=60, check=True)


def test_an_aar_of_smaller_pages_and_what_is_no_aar_are_refused(app: Path, made: Path, tmp_path: Path) -> None:
    """Before anything is built."""
    apk = tmp_path / "phantom.apk"
    ran = build_apk(app, made, apk, "--aar", str(made_up_aar(tmp_path, 4096)))
    assert ran.returncode == 1 and "not linked for pages of 16 KB" in ran.stderr and not apk.exists()
    (tmp_path / "no.aar").write_bytes(b"no zip")
    ran = build_apk(app, made, apk, "--aar", str(tmp_path / "no.aar"))
    assert ran.returncode == 1 and "cannot be read" in ran.stderr and not apk.exists()

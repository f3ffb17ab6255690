"""Profiles of a phone: the real adb, a phone that speaks its protocol, and the Kotlin library in place of its app."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from adb_client import adb_server, connect
from adbd import Phone
from bundles import resealed, tiny_bundle
from command_line import edge_inside
from phone_app import App
from phone_reports import THERMAL
from profiles import at_each_stage
from registries import SHORT_LIVED

from phantom_edge.bundle.folder import Bundle
from phantom_edge.bundle.node_names import PHANTOM
from phantom_edge.profile.devices.adb import COMMAND
from phantom_edge.profile.devices.phone import GAUGE, State, parse
from phantom_edge.profile.measure import machine
from phantom_edge.profile.result import Reading, Run, read_run

pytest.importorskip("psutil")

QUICK = ("--repeats", 1, "--tokens", 2, "--threads", 1, "--depth", 16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("android-profile"))


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with adb_server(tmp_path_factory.mktemp("adb")) as command:
        yield command


@pytest.fixture
def phone(adb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    """One that adb knows, without the app."""
    monkeypatch.setenv(COMMAND, adb)
    one = Phone(tmp_path / "phone")
    connect(adb, one)
    try:
        yield one
        one.close()
    finally:
        subprocess.run([*adb.split(), "disconnect", one.serial], capture_output=True, timeout=60, check=False)


@pytest.fixture
def app(phone: Phone, kotlin_library: Path) -> App:
    """The app, installed."""
    libraries = f"{kotlin_library / 'target/classes'}:{(kotlin_library / 'classpath').read_text()}"
    one = App(phone, ("java", *SHORT_LIVED, "-Xmx512m", "-cp", libraries, "PhoneKt"))
    one.install()
    return one


def asked(phone: Phone, bundle: Path, *more: object) -> "subprocess.CompletedProcess[str]":
    return edge_inside("profile", bundle, "--device", f"android:{phone.serial}", *QUICK, *more)


def profiled(phone: Phone, bundle: Path, out: Path) -> Run:
    ran = asked(phone, bundle, "--out", out)
    assert ran.returncode == 0, ran.stderr
    return read_run(out)


@pytest.mark.slow
@pytest.mark.usefixtures("app")
def test_profile_of_a_phone(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    """The bundle goes there once; its profile is whole, and has the phone's battery and heat."""
    calls = count()
    phone.charge = lambda: 2_500_000 - 1000 * next(calls)
    run = profiled(phone, bundle, tmp_path / "run.json")
    assert not run.partial and list(run.tokens_per_second) == [16] and len(run.answers) == 2
    assert (run.device.kind, run.device.name, run.device.processor) == ("android", "Acme Phone 7", "AC8000")
    assert run.device.system == "Android 15 (API 35)" and "AP4A" in run.device.notes["build"]
    assert run.device.bandwidth and run.device.products and run.peak_bytes and run.subject.threads == 1
    for reading in run.readings:
        assert (reading.battery, reading.celsius) == (85, 44.8)
        assert reading.state == "screen on, thermal light"
    assert run.energy is not None and (run.energy.source, run.energy.tokens) == (GAUGE, 4)
    looks = run.energy.joules / (0.001 * 3600 * 4)  # at each, there is 1 mAh less, at 4 V
    assert looks == pytest.approx(round(looks)) and looks > 0.5
    there = phone.folder / "tmp/phantom-edge/bundles"
    assert Bundle.open(there / run.subject.seal[:16])
    assert run.subject.bundle == bundle.name
    same_as_here(run, bundle, tmp_path)
    phone.received.clear()
    phone.usb = True
    again = profiled(phone, bundle, tmp_path / "again.json")
    assert not phone.received and again.subject == run.subject
    assert again.energy is None and "charged by USB" in again.device.notes["energy"]
    assert again.readings[-1].state == "screen on, thermal light, charged by USB"


def same_as_here(theirs: Run, bundle: Path, tmp_path: Path) -> None:
    """Asserts the stages, parts and nodes of a profile by Python, of the same bytes and products."""
    ran = edge_inside("profile", bundle, *QUICK, "--out", tmp_path / "ours.json")
    assert ran.returncode == 0, ran.stderr
    ours = read_run(tmp_path / "ours.json")

    def shape(run: Run) -> tuple[object, ...]:
        stages = [(one.name, one.units) for one in run.stages]
        answers = [sorted(one.stages) for one in run.answers]
        traced = [(one.part, one.steps) for one in run.traced]
        return (stages, answers, traced, [one.context for one in run.depths], run.widened, run.untold, run.repeats)

    assert shape(theirs) == shape(ours) and not ours.untold
    assert theirs.subject == ours.subject

    def nodes(run: Run) -> dict[tuple[str, str], int]:
        found = [one for one in run.operators if one.group == PHANTOM]
        return {(one.part, one.operator): one.calls for one in found}

    assert nodes(theirs) == nodes(ours)  # of other places, two versions of ONNX Runtime may fuse differently


@pytest.mark.slow
@pytest.mark.usefixtures("app")
def test_another_bundle_that_is_cut_off_is_sent_again(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    """Full in the middle of the bundle: a line says so; with space again, the half of it does not stay."""
    there = phone.folder / "tmp/phantom-edge/bundles"
    shutil.copytree(bundle, there / Bundle.open(bundle).manifest.seal[:16])
    shutil.copytree(bundle, tmp_path / "other")
    resealed(tmp_path / "other", lambda text: text.update(made_by="somebody else"))
    whole = phone.after_file

    def fill(path: Path) -> None:
        phone.is_full = "bundles" in path.parts

    phone.after_file = fill
    ran = asked(phone, tmp_path / "other")
    assert ran.returncode == 1 and "No space left on device" in ran.stderr and "Traceback" not in ran.stderr
    phone.is_full, phone.after_file = False, whole
    run = profiled(phone, tmp_path / "other", tmp_path / "run.json")
    assert Bundle.open(there / run.subject.seal[:16]) and len(list(there.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("app")
def test_a_connection_that_ends_leaves_what_was_measured(
    phone: Phone, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cable is pulled as soon as the first stage was reported."""
    at_each_stage(monkeypatch, phone.unplug)
    ran = asked(phone, bundle, "--repeats", 300, "--out", tmp_path / "run.json")
    assert ran.returncode == 1 and "the connection to Acme Phone 7 ended before all was measured" in ran.stderr
    assert "Traceback" not in ran.stderr
    run = read_run(tmp_path / "run.json")
    assert run.partial and run.stages[0].name == "load" and not run.answers and run.device.kind == "android"


@pytest.mark.slow
def test_a_phone_that_wants_its_memory_back(
    phone: Phone, app: App, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Android does, without a word; the connection stays."""
    at_each_stage(monkeypatch, app.kill)
    ran = asked(phone, bundle, "--repeats", 300, "--out", tmp_path / "run.json")
    assert ran.returncode == 1 and "Acme Phone 7 ended the app before all was measured" in ran.stderr, ran.stderr
    assert "perhaps its memory was full" in ran.stderr and read_run(tmp_path / "run.json").partial
    assert app.asked()[-1] == "force-stop phantom.edge.app"


@pytest.mark.slow
@pytest.mark.usefixtures("app")
def test_the_app_s_own_refusal_is_one_line(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    ran = asked(phone, bundle, "--depth", 100_000, "--out", tmp_path / "run.json")
    assert ran.returncode == 1 and "Acme Phone 7: a depth of 100000" in ran.stderr, ran.stderr
    assert not (tmp_path / "run.json").exists()


def says(
    phone: Phone, bundle: Path, *words: str, more: tuple[object, ...] = (), device: str = "", code: int = 1
) -> None:
    """Asserts that a profile fails with these words, and without a traceback."""
    ran = edge_inside("profile", bundle, "--device", device or f"android:{phone.serial}", *QUICK, *more)
    assert ran.returncode == code and "Traceback" not in ran.stderr, ran.stderr
    assert all(word in ran.stderr for word in words), (words, ran.stderr)


def test_the_app_is_installed_from_an_apk(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    """Where there is none, a line names the command that builds it; the phone's refusals are lines, too."""
    app = App(phone)
    apk = tmp_path / "phantom.apk"
    says(phone, bundle, "Acme Phone 7 has no demo app", "python scripts/apk.py --aar", "--apk apps/android/app/target")
    app.install("instrumentation:phantom.edge.app/.Other (target=phantom.edge.app)")
    says(phone, bundle, "has an older demo app, which does not measure", "--apk")
    says(phone, bundle, "there is no file", "python scripts/apk.py", more=("--apk", apk))
    apk.write_bytes(b"another APK")
    for word, remedy in {
        "Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: signatures differ]": "adb uninstall phantom.edge.app",
        "Failure [INSTALL_FAILED_NO_MATCHING_ABIS: res=-113]": "use a phone with 64-bit Android",
        "Failure [INSTALL_PARSE_FAILED_NOT_APK: no manifest]": "build it again",
        "Error: no such service": "build it again",
    }.items():
        app.refuse(word)
        says(phone, bundle, f"Acme Phone 7 does not install {apk}", remedy, more=("--apk", apk))
    (app.desk / "refusal").unlink()
    assert not phone.received or all(name.endswith(".apk") for name in phone.received)
    app.say("INSTRUMENTATION_FAILED: phantom.edge.app/.profile.Measurement")
    says(phone, bundle, "does not start the measurement (INSTRUMENTATION_FAILED", more=("--apk", apk))
    assert (app.desk / "installed.apk").read_bytes() == b"another APK"
    assert not list((phone.folder / "tmp").rglob("*.apk"))
    app.say("INSTRUMENTATION_RESULT: longMsg=java.lang.Error: none\nINSTRUMENTATION_CODE: 0")
    says(phone, bundle, "the app on Acme Phone 7 ended before all was measured (java.lang.Error: none)")
    app.say('{"error": "this app was built without ONNX Runtime", "remedy": "build it again"}')
    says(phone, bundle, "Acme Phone 7: this app was built without ONNX Runtime")


def test_an_apk_is_for_phones_alone(phone: Phone, bundle: Path) -> None:
    says(phone, bundle, "--apk is for Android phones", "leave it out", more=("--apk", bundle), device="host", code=2)


def test_a_phone_that_cannot_be_used_is_one_line(
    phone: Phone, bundle: Path, adb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    App(phone).install()
    says(phone, bundle, "adb lists no device NOBODY", phone.serial, device="android:NOBODY")
    says(phone, bundle, "adb connect 127.0.0.1:9", device="android:127.0.0.1:9")
    says(phone, bundle, "adb connect 'a;b:9'", device="android:a;b:9")
    stranger = Phone(tmp_path / "stranger")
    stranger.trusts = False
    connect(adb, stranger)
    says(phone, bundle, "does not trust this computer yet", "accept the key", device=f"android:{stranger.serial}")
    says(phone, bundle, "adb lists 2 devices", "(unauthorized)", device="android:")
    stranger.close()
    phone.is_full = True
    says(phone, bundle, "No space left on device", "adb shell df")
    phone.is_full = False
    phone.properties["ro.build.version.sdk"] = "23"
    says(phone, bundle, "has Android 15", "use one with Android 8 or newer")
    phone.properties["ro.build.version.sdk"] = "35"
    says(phone, bundle, "--image is for this machine", more=("--image", bundle), code=2)
    resealed(bundle, lambda text: text.update(target="executorch"))
    try:
        says(phone, bundle, "is for target executorch", "phantom-edge export --target onnx")
    finally:
        resealed(bundle, lambda text: text.update(target="onnx"))
    monkeypatch.setenv(COMMAND, os.devnull + "/adb")
    says(phone, bundle, "there is no adb here")


BATTERY = (
    "  AC powered: false\n  USB powered: true\n  Charge counter: 2512000\n  level: 50\n  scale: 100\n  voltage: 4234\n"
)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("", State()),
        ("Can't find service: thermalservice\n", State()),
        (BATTERY, State(50, None, 2.512, 4.234, "USB", "charged by USB")),
        (f"{BATTERY}  temperature: 273\n", State(50, 27.3, 2.512, 4.234, "USB", "charged by USB")),
        (f"{BATTERY}  (UPDATES STOPPED -- use 'reset' to restart)\n", State(50, words="", powered="USB")),
        (THERMAL, State(celsius=44.8, words="thermal light")),
        ("  level: 50\n  scale: 0\n  voltage: 4\n  Charge counter: 0\nThermal Status: 9\n", State()),
        ("  mWakefulness=Dozing\n", State(words="screen dozing")),
    ],
)
def test_a_phone_s_own_report(text: str, state: State) -> None:
    found = parse(text)
    if "STOPPED" in text:
        assert found.charge is None and found.volts is None and "stopped" in found.words
    else:
        assert found == state


def test_a_system_without_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Android's shell may not list its batteries, nor read all of its clocks."""
    psutil = pytest.importorskip("psutil")

    def refused() -> None:
        raise PermissionError(13, "Permission denied")

    def unknown() -> None:
        raise NotImplementedError("can't find current frequency file")

    monkeypatch.setattr(psutil, "sensors_battery", refused)
    monkeypatch.setattr(psutil, "sensors_temperatures", refused)
    monkeypatch.setattr(psutil, "cpu_freq", unknown)
    readings: list[Reading] = []
    machine.Watch(readings.append).read("before")
    (one,) = readings
    assert one.resident_bytes and (one.battery, one.celsius, one.megahertz) == (None, None, None)

"""Profiles of a phone: the real adb, a phone that speaks its protocol, and the runner that measures everywhere."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from adb_client import adb_server, connect
from adbd import Phone
from bundles import resealed, tiny_bundle
from command_line import edge_inside
from debian_packages import unpacked
from phone_reports import THERMAL
from profiles import at_each_stage

from phantom_edge.bundle.folder import Bundle
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.devices.adb import COMMAND
from phantom_edge.profile.devices.kit import ABIS, ABOUT, build, finish, open_kit, place_of
from phantom_edge.profile.devices.phone import GAUGE, State, parse
from phantom_edge.profile.measure import machine
from phantom_edge.profile.result import Reading, Run, read_run

pytest.importorskip("psutil")

EMULATED = "PHANTOM_EDGE_TEST_EMULATED"
"""Set it, and what was built for phones runs in qemu."""

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
    """One that adb knows, and a home without kits."""
    monkeypatch.setenv(COMMAND, adb)
    monkeypatch.setenv("PHANTOM_EDGE_HOME", str(tmp_path / "home"))
    one = Phone(tmp_path / "phone")
    connect(adb, one)
    yield one
    one.close()
    subprocess.run([*adb.split(), "disconnect", one.serial], capture_output=True, timeout=60, check=False)


@pytest.fixture
def kit(phone: Phone) -> Path:
    """One whose Python is that of this test."""
    place = place_of("arm64-v8a")
    place.mkdir(parents=True)
    (place / "run").write_text(f'#!/bin/sh\nexport OMP_NUM_THREADS=1\nexec {sys.executable} "$@"\n')
    finish(place, "arm64-v8a", "3.11")
    return place


def asked(phone: Phone, bundle: Path, *more: object) -> "subprocess.CompletedProcess[str]":
    return edge_inside("profile", bundle, "--device", f"android:{phone.serial}", *QUICK, *more)


def profiled(phone: Phone, bundle: Path, out: Path) -> Run:
    ran = asked(phone, bundle, "--out", out)
    assert ran.returncode == 0, ran.stderr
    return read_run(out)


@pytest.mark.usefixtures("kit")
def test_profile_of_a_phone(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    """Everything goes there once; what is told is a whole profile of it, with what it says of its battery and heat."""
    calls = count()
    phone.charge = lambda: 2_500_000 - 1000 * next(calls)
    run = profiled(phone, bundle, tmp_path / "run.json")
    assert not run.partial and list(run.tokens_per_second) == [16] and len(run.answers) == 2
    assert (run.device.kind, run.device.name, run.device.processor) == ("android", "Acme Phone 7", "AC8000")
    assert run.device.system.startswith("Android 15, Linux") and "AP4A" in run.device.notes["build"]
    for reading in run.readings:
        assert (reading.battery, reading.celsius) == (85, 44.8)
        assert reading.state == "screen on, thermal light"
    assert run.energy is not None and (run.energy.source, run.energy.tokens) == (GAUGE, 4)
    looks = run.energy.joules / (0.001 * 3600 * 4)  # at each, there is 1 mAh less, at 4 V
    assert looks == pytest.approx(round(looks)) and looks > 0.5
    there = phone.folder / "tmp/phantom-edge"
    assert Bundle.open(there / "bundles" / run.subject.seal[:16])
    assert not list(there.rglob("weights")) and list(there.glob("code/*/phantom_edge/quantize/recipe.py"))
    assert run.subject.bundle == bundle.name
    phone.received.clear()
    again = profiled(phone, bundle, tmp_path / "again.json")
    assert not phone.received and again.subject == run.subject
    shutil.copytree(bundle, tmp_path / "other")
    resealed(tmp_path / "other", lambda text: text.update(made_by="somebody else"))
    other = profiled(phone, tmp_path / "other", tmp_path / "other.json")
    assert other.subject.seal != run.subject.seal and phone.received and len(list(there.glob("bundles/*"))) == 2


@pytest.mark.usefixtures("kit")
def test_a_phone_that_charges_tells_no_energy(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    calls = count()
    phone.usb, phone.charge = True, lambda: 2_500_000 - 1000 * next(calls)
    run = profiled(phone, bundle, tmp_path / "run.json")
    assert run.energy is None and "charged by USB" in run.device.notes["energy"]
    assert run.readings[-1].state == "screen on, thermal light, charged by USB"


@pytest.mark.usefixtures("kit")
def test_a_connection_that_ends_leaves_what_was_told(
    phone: Phone, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cable is pulled as soon as the first stage was told."""
    at_each_stage(monkeypatch, phone.unplug)
    ran = asked(phone, bundle, "--repeats", 300, "--out", tmp_path / "run.json")
    assert ran.returncode == 1 and "the connection to Acme Phone 7 ended before all was measured" in ran.stderr
    assert "Traceback" not in ran.stderr
    run = read_run(tmp_path / "run.json")
    assert run.partial and run.stages[0].name == "load" and not run.answers and run.device.kind == "android"


@pytest.mark.usefixtures("kit")
def test_a_phone_that_wants_its_memory_back(
    phone: Phone, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Android does, without a word; the connection stays."""
    at_each_stage(monkeypatch, lambda: phone.end(f"kits/{open_kit('arm64-v8a').seal[:16]}/run"))
    ran = asked(phone, bundle, "--repeats", 300, "--out", tmp_path / "run.json")
    assert ran.returncode == 1 and "perhaps its memory was full" in ran.stderr, ran.stderr
    assert read_run(tmp_path / "run.json").partial


@pytest.mark.usefixtures("kit")
def test_what_was_cut_off_is_sent_again(phone: Phone, bundle: Path, tmp_path: Path) -> None:
    """Full in the middle of the bundle: a line says so; with space again, the half of it does not stay."""
    full = phone.after_file

    def fill(path: Path) -> None:
        phone.is_full = "bundles" in path.parts

    phone.after_file = fill
    ran = asked(phone, bundle)
    assert ran.returncode == 1 and "No space left on device" in ran.stderr and "Traceback" not in ran.stderr
    phone.is_full, phone.after_file = False, full
    run = profiled(phone, bundle, tmp_path / "run.json")
    assert Bundle.open(phone.folder / "tmp/phantom-edge/bundles" / run.subject.seal[:16])


def test_what_cannot_be_profiled_is_told_in_a_line(
    phone: Phone, kit: Path, bundle: Path, adb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(*words: str, device: str = f"android:{phone.serial}") -> None:
        ran = edge_inside("profile", bundle, "--device", device, *QUICK)
        assert ran.returncode == 1 and "Traceback" not in ran.stderr, ran.stderr
        assert all(word in ran.stderr for word in words), (words, ran.stderr)

    says("adb lists no device NOBODY", phone.serial, device="android:NOBODY")
    says("adb connect 127.0.0.1:9", device="android:127.0.0.1:9")
    stranger = Phone(tmp_path / "stranger")
    stranger.trusts = False
    connect(adb, stranger)
    says("does not trust this computer yet", "accept the key", device=f"android:{stranger.serial}")
    says("adb lists 2 devices", "(unauthorized)", device="android:")
    stranger.close()
    phone.is_full = True
    says("No space left on device", "adb shell df")
    phone.is_full = False
    phone.properties["ro.product.cpu.abilist"] = "armeabi-v7a,armeabi"
    says("has a processor for armeabi-v7a")
    phone.properties["ro.product.cpu.abilist"] = "x86_64"
    says("there is no kit for x86_64 here", "phantom-edge kit --abi x86_64")
    phone.properties["ro.product.cpu.abilist"] = "arm64-v8a"
    phone.properties["ro.build.version.sdk"] = "23"
    says("has Android 15")
    phone.properties["ro.build.version.sdk"] = "35"
    about = (kit / ABOUT).read_text()
    (kit / ABOUT).write_text(about.replace("numpy", "numpy1"))
    says("the kit of another version", "phantom-edge kit --abi arm64-v8a --force")
    (kit / "run").write_text("echo no such program >&2; exit 127\n")
    (kit / ABOUT).unlink()
    finish(kit, "arm64-v8a", "3.11")
    says("Acme Phone 7 does not run the kit (no such program)")
    ran = asked(phone, bundle, "--image", bundle)
    assert ran.returncode == 1 and "--image is for this machine" in ran.stderr
    resealed(bundle, lambda text: text.update(target="executorch"))
    try:
        says("is for target executorch", "phantom-edge export --target onnx")
    finally:
        resealed(bundle, lambda text: text.update(target="onnx"))
    monkeypatch.setenv(COMMAND, os.devnull + "/adb")
    says("there is no adb here")


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
def test_what_a_phone_says(text: str, state: State) -> None:
    found = parse(text)
    if "STOPPED" in text:
        assert found.charge is None and found.volts is None and "stopped" in found.words
    else:
        assert found == state


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_kit_that_apt_does_not_bring_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'no route to host' >&2\nexit 100\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    before = sorted(tmp_path.iterdir())
    ran = edge_inside("kit", "--out", tmp_path / "kit")
    assert ran.returncode == 1 and "apt-get does not bring what a kit needs (no route to host)" in ran.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_kit_wants_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EdgeError, match="no apt-get here"):
        build(tmp_path / "kit", "arm64-v8a", lambda _label, _count: lambda _step: None)
    with pytest.raises(EdgeError, match="--abi is 'mips'"):
        build(tmp_path / "kit", "mips", lambda _label, _count: lambda _step: None)
    assert not list(tmp_path.iterdir())


CPUINFO = """processor\t: {number}
BogoMIPS\t: 38.40
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 0

"""


def emulate(phone: Phone, desk: Path) -> None:
    """Let the phone's processor be qemu's: what starts its programs is started by it, and sees an Arm's /proc/cpuinfo.

    ONNX Runtime reads that file when it is imported, and crashes where it finds another processor's.
    """
    found = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    qemu = found or unpacked("qemu-user-static", desk / "qemu") / "usr/bin/qemu-aarch64-static"
    (desk / "system/proc").mkdir(parents=True)
    processors = "".join(CPUINFO.format(number=number) for number in range(os.cpu_count() or 1))
    (desk / "system/proc/cpuinfo").write_text(processors)

    def replace_loader(path: Path) -> None:
        if path.name == ABIS["arm64-v8a"].loader:
            path.rename(path.with_suffix(".elf"))
            path.write_text(f'#!/bin/sh\nexec {qemu} -L {desk}/system {path.with_suffix(".elf")} "$@"\n')

    phone.after_file = replace_loader


@pytest.mark.slow
@pytest.mark.parametrize("abi", ABIS)
def test_a_real_kit(abi: str, phone: Phone, bundle: Path, tmp_path: Path) -> None:
    """Debian's Python and C library, wheels of ONNX Runtime: what a phone would run, on this processor or on qemu's."""
    if abi != "x86_64" and not os.environ.get(EMULATED):
        pytest.skip(f"takes minutes; set {EMULATED}=1")
    if abi == "x86_64" and platform.machine() != "x86_64":
        pytest.skip("another processor")
    if not shutil.which("apt-get"):
        pytest.skip("no apt-get here")
    ran = edge_inside("kit", "--abi", abi)
    if "apt-get does not bring" in ran.stderr or "pip does not bring" in ran.stderr:
        pytest.skip(ran.stderr)
    assert ran.returncode == 0 and "onnxruntime" in ran.stderr, ran.stderr
    assert open_kit(abi)
    again = edge_inside("kit", "--abi", abi)
    assert again.returncode == 1 and "--force" in again.stderr
    phone.properties["ro.product.cpu.abilist"] = abi
    if abi != "x86_64":
        emulate(phone, tmp_path)
    run = profiled(phone, bundle, tmp_path / "run.json")
    assert not run.partial and run.device.kind == "android" and run.device.bandwidth and run.peak_bytes
    place = next((phone.folder / "tmp/phantom-edge/kits").iterdir())
    asked = f"PYTHONPATH= sh {place}/run -c 'import platform; print(platform.machine(), platform.python_version())'"
    said = subprocess.run(["sh", "-c", asked], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == ABIS[abi].wheels and said[1].startswith("3.")

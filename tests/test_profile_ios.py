"""Profiles of an iPhone: what Xcode is asked, and what becomes of its answers.

``xcrun`` is a stand-in here: a script that takes devicectl's words, a folder for the app's container, and an app that
is our own runner. No iPhone and no Mac were there; these tests show the order of things, and every end of it.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import tiny_bundle
from command_line import edge_inside

from phantom_edge.bundle.folder import Bundle
from phantom_edge.export.targets import TARGETS
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.devices.ios import COMMAND, Phone
from phantom_edge.profile.result import read_run

pytest.importorskip("psutil")

ADDRESS = "ios:00008130-0006/org.example.edge"

XCRUN = """
import json, os, pathlib, shutil, subprocess, sys

desk = pathlib.Path(__file__).parent
words = sys.argv[1:]
assert words[:2] == ["devicectl", "device"], words
(desk / "asked").open("a").write(" ".join(words[2:4]) + "\\n")
verb = " ".join(words[2:4])

def after(name):
    return words[words.index(name) + 1]

if verb.startswith("process launch"):
    at = words.index("org.example.edge")
    flags, (profile, place, wish) = words[4:at], words[at + 1 :]
    assert {"--console", "--terminate-existing"} < set(flags) and profile == "--profile"
    print("Launched application with org.example.edge bundle identifier.")
    print("Waiting for the application to terminate...", flush=True)
    runner = "phantom_edge.profile.measure.runner"
    app = subprocess.Popen([sys.executable, "-m", runner, desk / "container" / place, wish],
                           stdout=subprocess.PIPE, text=True)
    for line in app.stdout:
        print(line, end="", flush=True)
        if (desk / "crash").exists() and line.startswith('{"stage"'):
            app.kill()
            print("App terminated due to signal 9.")
            sys.exit(1)
    sys.exit(app.wait())
assert after("--device") == "00008130-0006"
if (desk / "locked").exists():
    sys.exit("ERROR: The device is locked. (com.apple.dt.CoreDeviceError error 1)")
if verb == "info apps":
    apps = [] if (desk / "no app").exists() else [{"bundleIdentifier": after("--bundle-id")}]
    told = "<html>" if (desk / "old").exists() else json.dumps({"result": {"apps": apps}})
    pathlib.Path(after("--json-output")).write_text(told)
    sys.exit()
assert (after("--domain-type"), after("--domain-identifier")) == ("appDataContainer", "org.example.edge")
source, to = pathlib.Path(after("--source")), pathlib.Path(after("--destination"))
if verb == "copy from":
    source = desk / "container" / source
else:
    to = desk / "container" / to
    if (desk / "full").exists() and source.name.startswith("decoder"):
        sys.exit("ERROR: No space left on device")
    to.parent.mkdir(parents=True, exist_ok=True)
if not source.exists():
    sys.exit("ERROR: The specified file could not be found.")
shutil.copy(source, to)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("ios-profile"))


def let_iphones_run_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's app runs what this machine can."""
    monkeypatch.setitem(TARGETS, "onnx", replace(TARGETS["onnx"], transports=("host", "ios")))


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in's folder; what it is to be like is said by files in it."""
    (tmp_path / "xcrun.py").write_text(XCRUN)
    monkeypatch.setenv(COMMAND, f"{sys.executable} {tmp_path / 'xcrun.py'}")
    let_iphones_run_onnx(monkeypatch)
    return tmp_path


def asked(bundle: Path, *more: object, device: str = ADDRESS):
    quick = ["--repeats", 1, "--tokens", 2, "--threads", 1, "--depth", 16, "--no-operators"]
    return edge_inside("profile", bundle, "--device", device, *quick, *more)


def test_profile_of_a_phone(bundle: Path, mac: Path) -> None:
    """Sent once, mark last; what the app says is a profile, and what devicectl says besides is passed over."""
    ran = asked(bundle, "--out", mac / "run.json")
    assert ran.returncode == 0, ran.stderr
    run = read_run(mac / "run.json")
    assert run.subject.bundle == bundle.name, "not that of the folder there"
    assert run.device.kind == "ios" and not run.partial and list(run.tokens_per_second) == [16]
    assert Bundle.open(mac / "container/Documents/phantom-edge" / run.subject.seal[:16])
    before = (mac / "asked").read_text().splitlines()
    assert before[:2] == ["info apps", "copy from"] and before[-1] == "process launch"
    assert asked(bundle).returncode == 0
    assert (mac / "asked").read_text().splitlines()[len(before) :] == ["info apps", "copy from", "process launch"]


def test_an_app_that_ends_leaves_what_was_told(bundle: Path, mac: Path) -> None:
    (mac / "crash").touch()
    ran = asked(bundle, "--out", mac / "run.json")
    assert ran.returncode == 1 and "ended before all was measured" in ran.stderr
    run = read_run(mac / "run.json")
    assert run.partial and run.stage("load") and not run.answers


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("locked", "The device is locked"),
        ("no app", "install it there with Xcode"),
        ("old", "update Xcode"),
        ("full", "No space left on device"),
    ],
)
def test_what_is_wrong_is_one_line(state: str, said: str, bundle: Path, mac: Path) -> None:
    (mac / state).touch()
    ran = asked(bundle)
    assert ran.returncode in (1, 2) and said in ran.stderr and "Traceback" not in ran.stderr
    assert not (mac / "container/Documents/phantom-edge/.whole").exists()


def test_what_no_phone_runs_and_no_mac_are_one_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = asked(bundle)
    assert ran.returncode == 1 and "--target coreml" in ran.stderr
    let_iphones_run_onnx(monkeypatch)
    monkeypatch.setenv(COMMAND, "xcrun-that-is-not-here")
    ran = asked(bundle)
    assert ran.returncode == 1 and "on a Mac with Xcode 16" in ran.stderr


@pytest.mark.parametrize(
    "text", ["ios:", "ios:0000", "ios:/org.example.edge", "ios:-x/a.b", "ios:0000/noapp", "ios:1/-a.b"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(EdgeError, match="is 'ios") as raised:
        Phone.parse(text)
    assert "devicectl list devices" in raised.value.remedy

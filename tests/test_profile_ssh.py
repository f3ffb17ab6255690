"""Profiles of a machine that ssh reaches: OpenSSH's client and server, and the runner that measures everywhere."""

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import tiny_bundle
from command_line import edge_inside
from profiles import at_each_stage
from sshd import serving

from phantom_edge.bundle.folder import Bundle
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.devices.remote import WHOLE, listen
from phantom_edge.profile.devices.ssh import COMMAND, PLACE, Address
from phantom_edge.profile.measure.lines import Gathering
from phantom_edge.profile.result import read_run

pytest.importorskip("psutil")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("ssh-profile"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of this machine, by ssh, with this very Python."""
    with serving(tmp_path_factory.mktemp("sshd")) as (port, command, _), pytest.MonkeyPatch.context() as patch:
        patch.setenv(COMMAND, command)
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}{sys.executable}"


@pytest.fixture(autouse=True)
def _home(bundle: Path) -> Iterator[None]:
    """Nothing stays in the home of whom ssh logs in."""
    place = Path.home() / PLACE / Bundle.open(bundle).manifest.seal[:16]
    yield
    subprocess.run(["rm", "-rf", place], check=True)


def asked(address: str, bundle: Path, *more: object) -> "subprocess.CompletedProcess[str]":
    quick = ["--repeats", 1, "--tokens", 2, "--threads", 1, "--depth", 16]
    return edge_inside("profile", bundle, "--device", address, *quick, *more)


def test_profile_of_another_machine(address: str, bundle: Path, tmp_path: Path) -> None:
    """The bundle goes there once; what is told is a whole profile, of that machine."""
    ran = asked(address, bundle, "--out", tmp_path / "run.json")
    assert ran.returncode == 0, ran.stderr
    run = read_run(tmp_path / "run.json")
    assert run.device.kind == "ssh" and "127.0.0.1" in run.device.name and not run.partial
    assert list(run.tokens_per_second) == [16] and len(run.answers) == 2 and run.readings
    there = Path.home() / PLACE / run.subject.seal[:16]
    assert (there / WHOLE).exists() and Bundle.open(there)
    before = (there / "phantom.json").stat().st_mtime_ns
    assert asked(address, bundle).returncode == 0 and (there / "phantom.json").stat().st_mtime_ns == before
    assert run.subject.bundle == bundle.name and run.subject.seal[:16] != "0" * 16


def test_bundle_that_was_cut_off_is_sent_again(address: str, bundle: Path) -> None:
    there = Path.home() / PLACE / Bundle.open(bundle).manifest.seal[:16]
    there.mkdir(parents=True)
    (there / "decoder.data").write_bytes(b"half")
    assert asked(address, bundle).returncode == 0 and Bundle.open(there)


def test_a_connection_that_ends_leaves_what_was_told(
    bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever measures there is killed as soon as the first stage was told."""
    with serving(tmp_path_factory.mktemp("cut")) as (port, command, _):
        monkeypatch.setenv(COMMAND, command)
        kill = ["pkill", "-9", "-f", f"profile.measure.runner {PLACE}/"]
        at_each_stage(monkeypatch, lambda: subprocess.run(kill, check=False))
        there = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{sys.executable}"
        ran = edge_inside("profile", bundle, "--device", there, "--repeats", 300, "--out", tmp_path / "run.json")
    assert ran.returncode == 1 and "before all was measured" in ran.stderr, ran.stderr
    run = read_run(tmp_path / "run.json")
    assert run.partial and run.stages[0].name == "load" and len(run.answers) < 300


def test_what_does_not_answer_is_told_in_a_line(address: str, bundle: Path) -> None:
    """No machine; no Python there; a Python without this package; a wish that cannot be, refused there."""
    host = address.removesuffix(sys.executable)
    for device, said in (
        (f"ssh://{getpass.getuser()}@127.0.0.1:1", "ssh does not reach"),
        (f"{host}/no/such/python", "has no phantom-edge that can measure"),
        (f"{host}/no/such;python", "run on it, in a clone: '/no/such;python' -m pip"),
        ("ssh://-oProxyCommand=x", "--device is"),
        ("usb://phone", "--device is 'usb://phone'"),
    ):
        ran = asked(device, bundle)
        assert ran.returncode in (1, 2) and said in ran.stderr and "Traceback" not in ran.stderr, (device, ran.stderr)
    ran = edge_inside("profile", bundle, "--device", address, "--depth", 9999)
    assert ran.returncode == 1 and "holds 64 tokens" in ran.stderr, ran.stderr


def test_no_ssh_here(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMAND, os.devnull + "/ssh")
    ran = asked("ssh://me@there", bundle)
    assert ran.returncode == 1 and "there is no ssh here" in ran.stderr


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://jetson", Address("jetson")),
        ("ssh://me@10.0.0.7:2222", Address("me@10.0.0.7", 2222)),
        ("ssh://me@board.local/opt/venv/bin/python", Address("me@board.local", None, "/opt/venv/bin/python")),
        ("ssh://me@[fe80::1]:22", Address("me@fe80::1", 22)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["ssh://", "ssh://a b", "ssh://me@-x", "ssh://x;rm", "ssh:board"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(EdgeError, match="--device is"):
        Address.parse(text)


@pytest.mark.parametrize("line", ["", "hello", "[]", "{}", '{"stage": 1}', '{"a": 1}', '{"stage": {}, "depth": {}}'])
def test_lines_that_are_none(line: str) -> None:
    with pytest.raises(EdgeError, match="no measurement"):
        Gathering().take(line)


def test_whoever_says_much_is_not_stopped() -> None:
    """Warnings, more than a pipe holds, before the first line; the last of them says why it ended."""
    script = (
        "import sys; print('warning\\n' * 100_000, 'so it ended', sep='', file=sys.stderr); print('{\"steps\": 3}')"
    )
    gathering = Gathering()
    told = listen("it", [sys.executable, "-c", script], gathering, lambda _what, _steps: lambda _step: None)
    assert gathering.found["steps"] == [3] and told == "it stopped before all was measured (so it ended)"

"""Android's debug bridge: which devices there are, what one says, and files that go there.

``PHANTOM_EDGE_ADB_COMMAND`` is taken instead of ``adb``.
"""

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.profile.devices.remote import last

COMMAND = "PHANTOM_EDGE_ADB_COMMAND"

PATIENCE = 120
"""Seconds that a short command may take there."""

READY = "device"
"""What adb calls the state of one that can be used."""

FAULTS = {
    "unauthorized": ("does not trust this computer yet", "unlock it, and accept the key on its screen"),
    "authorizing": ("does not trust this computer yet", "unlock it, and accept the key on its screen"),
    "offline": ("is offline", "connect it again; if that does not help: adb kill-server"),
    "no permissions": ("may not be opened by this user", "see: adb devices"),
}
"""By how a state begins: what it means, and what helps."""


@dataclass(frozen=True)
class Adb:
    """One device."""

    serial: str

    def command(self, *arguments: str | Path) -> list[str]:
        """The words that run this for the device."""
        return [*_words(), "-s", self.serial, *map(str, arguments)]

    def shell(self, remote: str, patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
        """Run a command there; as if it had failed where it takes too long."""
        command = self.command("shell", remote)
        try:
            return _ran(command, patience)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no answer in {patience:.0f} s")

    def push(self, local: str, remote: str) -> None:
        """Send a file, or what is in a folder. Raises EdgeError where the device does not take it."""
        ran = _ran(self.command("push", local, remote))
        if ran.returncode:
            said = [line for line in (ran.stderr + ran.stdout).splitlines() if "error" in line] or [ran.stderr]
            why = last(said[-1].rpartition("': ")[2])  # behind "failed to copy 'this' to 'that': "
            raise EdgeError(
                f"the phone did not take {Path(local)} ({why})",
                "see that it has space left (adb shell df /data), and give the same command again",
            )


def find(serial: str) -> Adb:
    """The device of that serial, or the only one where it is empty. Raises EdgeError for none that can be used."""
    ran = _ran([*_words(), "devices"])
    if ran.returncode:
        raise EdgeError(f"adb does not start ({last(ran.stderr)})", "see: adb devices")
    lines = [line.partition("\t") for line in ran.stdout.splitlines() if "\t" in line]
    states = {name: state.strip() for name, _, state in lines}
    told = ", ".join(f"{name} ({state})" for name, state in states.items()) or "none"
    if not serial and len(states) != 1:
        raise EdgeError(f"adb knows {len(states)} devices: {told}", "give one: --device android:SERIAL")
    serial = serial or next(iter(states))
    if serial not in states:
        remedy = f"run: adb connect {serial}" if ":" in serial else "plug it in with USB debugging on; see: adb devices"
        raise EdgeError(f"adb knows no device {serial}, but: {told}", remedy)
    state = states[serial]
    for begin, (meaning, remedy) in FAULTS.items():
        if state.startswith(begin):
            raise EdgeError(f"{serial} {meaning}", remedy)
    if state != READY:
        raise EdgeError(f"{serial} is in the state '{state}'", "start Android on it; see: adb devices")
    return Adb(serial)


def _words() -> list[str]:
    return shlex.split(os.environ.get(COMMAND, "adb"))


def _ran(command: list[str], patience: float | None = None) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=patience
        )
    except OSError:
        raise EdgeError(
            "there is no adb here", "install Android's platform-tools, on Debian: apt-get install adb"
        ) from None

"""Android's debug bridge: lists devices, runs commands and sends files.

``PHANTOM_EDGE_ADB_COMMAND`` replaces ``adb``.
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
"""Timeout of a short command, seconds."""

READY = "device"
"""adb's state of a usable device."""

FAULTS = {
    "unauthorized": ("does not trust this computer yet", "unlock it, and accept the key on its screen"),
    "authorizing": ("does not trust this computer yet", "unlock it, and accept the key on its screen"),
    "offline": ("is offline", "connect it again; if that does not help: adb kill-server"),
    "no permissions": ("may not be opened by this user", "see: adb devices"),
}
"""Meaning and remedy by the beginning of a state."""


@dataclass(frozen=True)
class Adb:
    """One device."""

    serial: str

    def command(self, *arguments: str | Path) -> list[str]:
        """Returns the command line for this device."""
        return [*_words(), "-s", self.serial, *map(str, arguments)]

    def shell(self, remote: str, patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
        """Runs a command on the device; a timeout counts as a failure."""
        command = self.command("shell", remote)
        try:
            return _ran(command, patience)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, "", f"no answer in {patience:.0f} s")

    def push(self, local: str, remote: str) -> None:
        """Sends a file, or the contents of a folder. Raises EdgeError where the device refuses it."""
        ran = _ran(self.command("push", local, remote))
        if ran.returncode:
            errors = [line for line in (ran.stderr + ran.stdout).splitlines() if "error" in line] or [ran.stderr]
            why = last(errors[-1].rpartition("': ")[2])  # behind "failed to copy 'this' to 'that': "
            raise EdgeError(
                f"the phone did not take {Path(local)} ({why})",
                "check its free space (adb shell df /data), and run the same command again",
            )


def find(serial: str) -> Adb:
    """Returns the device of a serial, or the only one for "". Raises EdgeError where none is usable."""
    ran = _ran([*_words(), "devices"])
    if ran.returncode:
        raise EdgeError(f"adb does not start ({last(ran.stderr)})", "see: adb devices")
    lines = [line.partition("\t") for line in ran.stdout.splitlines() if "\t" in line]
    states = {name: state.strip() for name, _, state in lines}
    listed = ", ".join(f"{name} ({state})" for name, state in states.items()) or "none"
    if not serial and len(states) != 1:
        raise EdgeError(f"adb lists {len(states)} devices: {listed}", "give one: --device android:SERIAL")
    serial = serial or next(iter(states))
    if serial not in states:
        remedy = (
            f"run: adb connect {shlex.quote(serial)}"
            if ":" in serial
            else "plug it in with USB debugging on; see: adb devices"
        )
        raise EdgeError(f"adb lists no device {serial}, but: {listed}", remedy)
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

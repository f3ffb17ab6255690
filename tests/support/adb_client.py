"""Android's own adb, with a server that lasts as long as a test.

The machine's adb is used, or Debian's package, unpacked into a folder. Without either, the test is skipped.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from adbd import Phone
from debian_packages import unpacked


def program(desk: Path) -> tuple[str, dict[str, str]]:
    """The path of adb, and the environment that it needs."""
    if found := shutil.which("adb"):
        return found, {}
    root = unpacked("adb", desk / "adb", ("android-", "libusb", "libbsd", "libmd", "libudev", "libprotobuf", "libzstd"))
    libraries = sorted({str(one.parent) for one in root.rglob("*.so*")})
    found = next(str(one) for one in root.rglob("adb") if one.is_file() and os.access(one, os.X_OK))
    return found, {"LD_LIBRARY_PATH": os.pathsep.join(libraries)}


@contextmanager
def adb_server(desk: Path) -> Iterator[str]:
    """Start a server; yields the adb command that uses it."""
    adb, needed = program(desk)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (desk / "home").mkdir()
    given = {"HOME": str(desk / "home"), "ANDROID_ADB_SERVER_PORT": str(port), "ADB_MDNS": "0"} | needed
    command = ["env", *(f"{name}={value}" for name, value in given.items()), adb]
    started = subprocess.run([*command, "start-server"], capture_output=True, text=True, timeout=60, check=False)
    if started.returncode:
        pytest.skip(f"adb does not start here: {started.stderr[-200:]}")
    try:
        yield " ".join(command)
    finally:
        subprocess.run([*command, "kill-server"], capture_output=True, timeout=60, check=False)


def connect(command: str, phone: Phone) -> None:
    """Connect adb to the phone, and wait until adb lists it."""
    subprocess.run([*command.split(), "connect", phone.serial], capture_output=True, timeout=60, check=True)
    for _ in range(100):
        told = subprocess.run([*command.split(), "devices"], capture_output=True, text=True, timeout=60, check=True)
        if f"{phone.serial}\t" in told.stdout:
            return
        time.sleep(0.1)
    raise AssertionError(told.stdout)

"""The demo app on a phone (``apps/android/app``), which measures there: installs it, and starts its measurement.

The measurement is an instrumentation of the app. ``am instrument``, which adb's shell may call on any phone, starts it,
and prints each line as it comes. The app reads the bundle where adb put it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.profile.devices.adb import Adb
from phantom_edge.profile.devices.remote import last

PACKAGE = "phantom.edge.app"
MEASUREMENT = f"{PACKAGE}/.profile.Measurement"

BUILD = "in phantom-edge's repository: python scripts/apk.py --aar onnxruntime-android.aar"
APK = "apps/android/app/target/phantom.apk"
"""Command that builds the app, and its result."""

INSTALLING, STOPPING = 600.0, 20.0
"""Timeouts, seconds."""

UNINSTALL = f"remove it and its data: adb uninstall {PACKAGE}"

REFUSALS = {
    "INSTALL_FAILED_UPDATE_INCOMPATIBLE": f"one with another key is there; {UNINSTALL}",
    "INSTALL_FAILED_VERSION_DOWNGRADE": f"a newer one is there; {UNINSTALL}",
    "INSTALL_FAILED_INSUFFICIENT_STORAGE": "free space on it; see: adb shell df /data",
    "INSTALL_FAILED_NO_MATCHING_ABIS": "use a phone with 64-bit Android",
    "INSTALL_FAILED_USER_RESTRICTED": "allow installation over USB in its developer options",
}
"""Remedies by ``pm``'s word for why it does not install."""


def install(adb: Adb, name: str, apk: Path, place: str, begin: Progress) -> None:
    """Installs the app, or updates it, by way of the folder ``place``. Raises EdgeError where the phone refuses it."""
    if not apk.is_file():
        raise EdgeError(f"there is no file {apk}", f"build it {BUILD}")
    step = begin("installing the app", 1)
    sent = f"{place}/phantom.apk"
    adb.push(str(apk), sent)
    ran = adb.shell(f"pm install -r {sent}", INSTALLING)
    adb.shell(f"rm -f {sent}")
    if "Success" not in ran.stdout:
        why = re.search(r"INSTALL_\w+", ran.stdout + ran.stderr)
        word = why[0] if why else last(ran.stdout + ran.stderr)
        remedy = REFUSALS.get(word, f"build it again {BUILD}")
        raise EdgeError(f"{name} does not install {apk} ({word})", remedy)
    step(1)


def check_installed(adb: Adb, name: str) -> None:
    """Raises EdgeError where the app is not installed, or is older than its measurement."""
    found = adb.shell(f"pm list instrumentation {PACKAGE}").stdout
    if f"instrumentation:{MEASUREMENT} " in found:
        return
    is_there = "package:" in adb.shell(f"pm path {PACKAGE}").stdout
    problem = "an older demo app, which does not measure" if is_there else "no demo app, which measures there"
    raise EdgeError(f"{name} has {problem}", f"build it {BUILD}; then add: --apk {APK}")


def measuring(folder: str, wish: str) -> str:
    """Returns the phone's command that measures the bundle in ``folder``."""
    return f"am instrument -w -e folder {folder} -e wish {quote(wish)} {MEASUREMENT}"


def stop(adb: Adb) -> None:
    """Ends the app, where it still measures; a phone that is not connected any more is left alone."""
    adb.shell(f"am force-stop {PACKAGE}", STOPPING)


def end_of(name: str, said: Sequence[str]) -> str:
    """Returns why the app ended before all was measured, by what ``am`` printed besides; "" where it does not say."""
    words = {key: word for key, _, word in (line.partition("Msg=") for line in said) if word}
    short, long = (words.get(f"INSTRUMENTATION_RESULT: {key}", "") for key in ("short", "long"))
    if long:
        return f"the app on {name} ended before all was measured ({long[:200]})"
    if short:
        return f"{name} ended the app before all was measured ({short}); perhaps its memory was full"
    failed = next((line for line in said if "INSTRUMENTATION_FAILED" in line), "")
    return f"{name} does not start the measurement ({failed[:200]})" if failed else ""

"""A copy of apps/web with the packages that npm brings, and the Chromium of the system."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "apps" / "web"
PATIENCE = 1500
"""Maximum seconds for packages, and for the tests."""

LEAST_NODE = (20, 19)
ABSENT = re.compile(r"ENOTFOUND|ECONN\w+|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT|code E(404|403|50\d)")
"""npm's words where its registry does not answer."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def node_version() -> tuple[int, ...]:
    """Version of node, empty where there is none."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return ()
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(map(int, said.strip().removeprefix("v").split(".")))


def run(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in ``folder``."""
    return subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"CI": "1", "NO_COLOR": "1"} | environment,
    )


def installed_copy(desk: Path) -> Path:
    """A copy of apps/web with its packages in ``desk``, so that no two builds meet; skips where there are no tools."""
    if node_version() < LEAST_NODE:
        pytest.skip("no node 20.19 or newer with npm here, which runs the tests of apps/web")
    made = shutil.ignore_patterns("node_modules", "dist", "built", "site", "LICENSE")
    shutil.copytree(WEB, desk / "apps" / "web", ignore=made)
    shutil.copy(ROOT / "LICENSE", desk)
    ran = run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], desk / "apps" / "web")
    if ran.returncode and ABSENT.search(ran.stderr):
        pytest.skip("npm does not bring the packages of apps/web")
    assert ran.returncode == 0, ran.stderr[-3000:]
    return desk / "apps" / "web"


def chromium_of_the_system() -> str:
    """The path of Chromium; skips where there is none."""
    found = os.environ.get("PHANTOM_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here, in which the page is driven (Debian: apt-get install chromium)")
    return found

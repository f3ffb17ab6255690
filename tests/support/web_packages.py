"""A copy of apps/web with the packages that npm brings, and the Chromium of the system."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from once import made_once
from registries import fetch

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "apps" / "web"
LEAST_NODE = (20, 19)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def node_version() -> tuple[int, ...]:
    """Version of node, empty where there is none."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return ()
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return tuple(map(int, said.strip().removeprefix("v").split(".")))


def installed_copy(place: Path, desk: Path) -> Path:
    """A copy of apps/web in ``desk``, so that no two builds meet; skips where there are no tools.

    Its packages are links to those that npm brings once into ``place``.
    """
    if node_version() < LEAST_NODE:
        pytest.skip("no node 20.19 or newer with npm here, which runs the tests of apps/web")
    packages = made_once(place, "web-packages", _install) / "node_modules"
    made = shutil.ignore_patterns("node_modules", "dist", "built", "site", "LICENSE")
    shutil.copytree(WEB, desk / "apps" / "web", ignore=made)
    shutil.copytree(packages, desk / "apps" / "web" / "node_modules", symlinks=True, copy_function=os.link)
    shutil.copy(ROOT / "LICENSE", desk)
    return desk / "apps" / "web"


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, folder)
    words = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    fetch(words, folder, "the packages of apps/web")


def chromium_of_the_system() -> str:
    """The path of Chromium; skips where there is none."""
    found = os.environ.get("PHANTOM_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here, in which the page is driven (Debian: apt-get install chromium)")
    return found

"""Headless Chromium, installed by npm; where that fails, the test is skipped."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from registries import fetch

FILES = Path(__file__).parent / "browser"
UNPACK = 'import("@sparticuz/chromium").then((found) => found.default.executablePath())'
PATIENCE = 300
"""Maximum seconds to install the browser, or to open a page."""


def installed(place: Path) -> Path:
    """The folder with the browser and its driver, installed once and kept in ``place``."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node and npm here")
    files = [FILES / "package.json", FILES / "look.mjs"]
    folder = place / hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()[:16]
    if folder.is_dir():
        return folder
    making = Path(tempfile.mkdtemp(dir=place))
    for one in files:
        shutil.copy(one, making)
    words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    fetch(words, making, "a browser")
    unpacked = subprocess.run(["node", "-e", UNPACK], cwd=making, env=at_home(making), timeout=PATIENCE, check=False)
    if unpacked.returncode:
        pytest.skip("the browser that npm brings does not unpack here")
    try:
        making.rename(folder)
    except OSError:  # another worker was first
        shutil.rmtree(making)
    return folder


def at_home(folder: Path) -> dict[str, str]:
    """The environment in which the browser unpacks into ``folder``."""
    return os.environ | {"TMPDIR": str(folder)}


def inspect_page(page: Path, folder: Path, scheme: str, widths: Sequence[int], place: Path) -> list[dict[str, Any]]:
    """Layout faults and counts of a page at each width; screenshots go to ``folder``."""
    home = installed(place)
    words = ["node", str(home / "look.mjs"), str(page), str(folder), scheme, *map(str, widths)]
    ran = subprocess.run(words, env=at_home(home), capture_output=True, text=True, timeout=PATIENCE, check=False)
    if "error while loading shared libraries" in ran.stderr:
        pytest.skip("the browser needs a library that is not here")
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    return list(json.loads(ran.stdout))


def ask_page(url: str, picture: Path, question: str, place: Path, *flags: str) -> dict[str, Any]:
    """The answer of the page of a README, the engine that it chose, and what the console said."""
    home = installed(place)
    shutil.copy(FILES / "ask.mjs", home)
    words = ["node", str(home / "ask.mjs"), url, str(picture), question, *flags]
    ran = subprocess.run(words, env=at_home(home), capture_output=True, text=True, timeout=2 * PATIENCE, check=False)
    if "error while loading shared libraries" in ran.stderr:
        pytest.skip("the browser needs a library that is not here")
    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    return dict(json.loads(ran.stdout))

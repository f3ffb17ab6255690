"""Debian's packages, unpacked into a folder, for programs that a test needs and a machine may lack."""

import shutil
import subprocess
from pathlib import Path

import pytest


def unpacked(package: str, desk: Path, beside: tuple[str, ...] = ()) -> Path:
    """Unpack a package into ``desk``, with those of its dependencies whose names begin with one of ``beside``."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        pytest.skip(f"no {package} here, and no apt-get that could bring it")
    kinds = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    ask = ["apt-cache", "depends", "--recurse", *(f"--no-{kind}" for kind in kinds), package]
    tree = subprocess.run(ask, capture_output=True, text=True, timeout=120, check=False).stdout.splitlines()
    names = {line for line in tree if line.startswith(beside)} if beside else set()
    (desk / "debs").mkdir(parents=True)
    get = ["apt-get", "download", package, *sorted(names - {package})]
    if subprocess.run(get, cwd=desk / "debs", capture_output=True, timeout=300, check=False).returncode:
        pytest.skip(f"no {package} here, and apt-get does not bring it")
    for deb in (desk / "debs").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", deb, desk / "root"], check=True)
    return desk / "root"

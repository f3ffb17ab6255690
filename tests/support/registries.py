"""Package managers of other languages, whose registries may not answer: then a test is skipped, else it fails."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

PATIENCE = 1500
"""Maximum seconds for packages, compilation and tests."""

ABSENT = re.compile(
    r"ENOTFOUND|ECONN\w+|ETIMEDOUT|EAI_AGAIN|ENETUNREACH|ERR_SOCKET_TIMEOUT|code E(404|403|50\d)"  # npm
    r"|Could not (resolve dependencies|transfer artifact|find artifact)|could not be resolved"  # Maven
    r"|Non-resolvable|Unknown host"
)
"""Words of npm and Maven where a registry does not answer, or lacks a package."""


SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Options of a JVM that runs for seconds: its second compiler and G1 cost more there than they bring."""


def for_maven() -> dict[str, str]:
    """Environment variables of Maven, whose JVM runs for seconds."""
    return {"MAVEN_OPTS": " ".join(filter(None, (os.environ.get("MAVEN_OPTS"), *SHORT_LIVED)))}


def run(words: Sequence[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in ``folder``."""
    return subprocess.run(
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=os.environ | {"CI": "1", "NO_COLOR": "1"} | for_maven() | environment,
    )


def fetch(words: Sequence[str], folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    """Runs a package manager that brings ``what``; skips the test where its registry does not answer."""
    ran = run(words, folder)
    said = ran.stdout + ran.stderr
    if ran.returncode and ABSENT.search(said):
        pytest.skip(f"{words[0]} does not bring {what}")
    assert ran.returncode == 0, said[-6000:]
    return ran

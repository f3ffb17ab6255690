"""Files for a forge: workflows that name what exists, and templates that a reader can fill in."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from phantom_edge.cli.main import app
from phantom_edge.foundation.versions import __version__

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def lines() -> list[str]:
    """Every line that a job runs."""
    jobs = [job for path in WORKFLOWS for job in read(path)["jobs"].values()]
    steps = [step for job in jobs for step in job["steps"]]
    return [line for step in steps for line in str(step.get("run", "")).splitlines()]


def test_what_is_run_exists() -> None:
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = lines()
    assert len(found) > 15
    for line in found:
        words = line.split()
        if words[0] == "phantom-edge":
            assert words[1] in known, line
        if words[0] == "make":
            assert re.search(rf"^{words[1]}: ", makefile, re.MULTILINE), line
        for path in re.findall(r"(?:tests|apps|scripts|\.ci)/[\w./-]+", line):
            assert (ROOT / path).exists(), line


def test_pythons_are_those_that_the_package_takes() -> None:
    jobs = [job for path in WORKFLOWS for job in read(path)["jobs"].values()]
    named = {python for job in jobs for python in job.get("strategy", {}).get("matrix", {}).get("python", ())}
    named |= {step["with"]["python-version"] for job in jobs for step in job["steps"] if "setup-python" in str(step)}
    assert {"3.11", "3.12", "3.13"} <= named
    assert {job["runs-on"].partition("-")[0] for job in jobs} == {"ubuntu", "macos", "windows"}


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not on PATH")
def test_workflows_pass_actionlint() -> None:
    done = subprocess.run(["actionlint", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_forms_are_whole() -> None:
    for path in sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")):
        form = read(path)
        if path.name == "config.yml":
            continue
        assert form["name"] and form["description"], path.name
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert len({field["id"] for field in fields}) == len(fields) > 0, path.name
        assert all(field["attributes"]["label"] for field in fields), path.name
    for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", ".github/PULL_REQUEST_TEMPLATE.md"):
        assert len((ROOT / name).read_text(encoding="utf-8").split()) > 30, name


VERSIONED = {
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## \[(.+)\]",
    "apps/web/package.json": r'"version": "(.+)"',
    "apps/web/package-lock.json": r'"version": "(.+)"',
    "apps/android/pom.xml": r"<version>(.+)</version>",
    "apps/android/phantom/pom.xml": r"<version>(.+)</version>",
    "apps/android/app/pom.xml": r"<version>(.+)</version>",
    "apps/android/app/build.gradle.kts": r'versionName = "(.+)"',
    "apps/android/app/src/main/AndroidManifest.xml": r'android:versionName="(.+)"',
    "docs/web.md": r"phantom-edge-([\d.]+)\.tgz",
    "docs/android.md": r"phantom-([\d.]+)\.jar",
}
"""Files that state the version, beside ``foundation/versions.py``, and where: their first match."""


@pytest.mark.parametrize("path", VERSIONED)
def test_one_version_everywhere(path: str) -> None:
    found = re.search(VERSIONED[path], (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None and found[1] == __version__

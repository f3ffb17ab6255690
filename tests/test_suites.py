"""Suites of other languages: left out with a line, or a failure."""

import subprocess
import sys
from pathlib import Path

import pytest
from suites import SUITES, Suite, left_out

ROOT = Path(__file__).resolve().parents[1]

HERE = Suite("the suite", "test_it.py", lambda: True)
NOWHERE = Suite("the suite", "test_it.py", lambda: False)


@pytest.mark.parametrize("suite", [HERE, NOWHERE])
def test_a_suite_that_ran_is_not_left_out(suite: Suite) -> None:
    assert left_out(["tests/test_it.py::test_one"], {"tests/test_it.py::test_two": "no tool"}, (suite,)) == {}


@pytest.mark.parametrize(
    ("suite", "reason", "is_fault"),
    [
        (HERE, "it fails here", True),
        (HERE, "npm does not bring the packages", False),
        (NOWHERE, "no tool here", False),
    ],
)
def test_a_suite_that_was_skipped(suite: Suite, reason: str, is_fault: bool) -> None:
    assert left_out([], {"tests/test_it.py::test_one": reason}, (suite,)) == {"the suite": (reason, is_fault)}


@pytest.mark.parametrize(("suite", "is_fault"), [(HERE, True), (NOWHERE, False)])
def test_a_suite_that_was_not_even_chosen(suite: Suite, is_fault: bool) -> None:
    assert left_out(["tests/test_other.py"], {}, (suite,)) == {"the suite": ("none of its tests was chosen", is_fault)}


def test_every_suite_has_tests() -> None:
    """A renamed test must not end as a suite that is looked for in vain."""
    for suite in SUITES:
        module, _, start = suite.tests.partition("::")
        assert f"def {start or 'test_'}" in (ROOT / "tests" / module).read_text(encoding="utf-8"), suite


@pytest.mark.parametrize("has_node", [True, False])
def test_the_run_fails_where_tools_are_and_the_suite_did_not_run(tmp_path: Path, has_node: bool) -> None:
    """The plugin in a run of its own, beside programs that say they were node and npm."""
    tools = tmp_path / "tools"
    tools.mkdir()
    if has_node:
        for name in ("node", "npm"):
            (tools / name).write_text("#!/bin/sh\necho v99.0.0\n", encoding="utf-8")
            (tools / name).chmod(0o755)
    (tmp_path / "test_web_library.py").write_text(
        "import pytest\n\n@pytest.mark.skip(reason='it is Friday')\ndef test_one():\n    pass\n", encoding="utf-8"
    )
    words = [sys.executable, "-m", "pytest", "-q", "-p", "suites", "--every-suite", "-p", "no:cacheprovider"]
    support = str(ROOT / "tests" / "support")
    ran = subprocess.run(
        [*words, str(tmp_path), "--rootdir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tools), "PYTHONPATH": support},
    )
    assert ran.returncode == has_node, ran.stdout + ran.stderr
    line = "error: the TypeScript library did not run though its tools are here: it is Friday"
    assert (line in ran.stdout) == has_node
    assert ("left out: the TypeScript library: it is Friday" in ran.stdout) != has_node

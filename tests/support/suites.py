"""Suites of other languages: what was left out is said in a line, and what had its tools but did not run is a failure.

A plugin of pytest, whose hooks conftest.py takes over. ``--every-suite`` makes a suite's absence a failure of the run,
unless a tool is missing or a registry of packages does not answer.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pytest
from web_packages import BROWSERS, LEAST_NODE, node_version

UNSERVED = "does not bring"
"""Words in the reason of a test that was skipped because a registry of packages does not answer."""


@dataclass(frozen=True)
class Suite:
    """Tests of one thing in another language: their node ids contain ``tests``; ``has_tools`` says if they can run."""

    name: str
    tests: str
    has_tools: Callable[[], bool]


def _on_path(*tools: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(tool) for tool in tools)


def _has_node() -> bool:
    return node_version() >= LEAST_NODE


SUITES = (
    Suite("the Kotlin library", "test_android_library.py::test_the_library_passes", _on_path("java", "mvn")),
    Suite("the Android app", "test_android_library.py::test_the_app_passes", _on_path("java", "mvn", "aapt2")),
    Suite(
        "the Android app's APK",
        "test_android_library.py::test_the_apk_without",
        _on_path("java", "mvn", "aapt2", "apksigner"),
    ),
    Suite("the TypeScript library", "test_web_library.py", _has_node),
    Suite("the web page", "test_web_page.py", lambda: _has_node() and any(map(shutil.which, BROWSERS))),
    Suite("Kotlin programs of READMEs", "test_readme_programs.py::test_kotlin_answers", _on_path("java", "mvn")),
    Suite("JavaScript programs of READMEs", "test_readme_programs.py::test_javascript_answers", _has_node),
)


def left_out(
    passed: Iterable[str], skipped: Mapping[str, str], suites: tuple[Suite, ...] = SUITES
) -> dict[str, tuple[str, bool]]:
    """Returns why suites did not run, by name, and whether that is a failure, since nothing was in their way.

    ``passed`` holds node ids, ``skipped`` the reasons by node id.
    """
    ran = list(passed)
    found = {}
    for suite in suites:
        if any(suite.tests in name for name in ran):
            continue
        reasons = [reason for name, reason in skipped.items() if suite.tests in name]
        served = not any(UNSERVED in reason for reason in reasons)
        found[suite.name] = (reasons[0] if reasons else "none of its tests was chosen", served and suite.has_tools())
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option."""
    parser.addoption(
        "--every-suite",
        action="store_true",
        help="fail where a suite of another language did not run though its tools are here",
    )


def _outcome(config: pytest.Config) -> dict[str, tuple[str, bool]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not config.getoption("--every-suite") or reporter is None or hasattr(config, "workerinput"):
        return {}
    skipped = {one.nodeid: str(one.longrepr[2]) for one in reporter.stats.get("skipped", ())}
    # A suite that failed did run, and fails the run by itself.
    ran = [one.nodeid for kind in ("passed", "failed", "error") for one in reporter.stats.get(kind, ())]
    return left_out(ran, {name: reason.removeprefix("Skipped: ") for name, reason in skipped.items()})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run where a suite is absent without a reason."""
    if any(is_fault for _, is_fault in _outcome(session.config).values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what was left out, a line a suite."""
    for name, (reason, is_fault) in _outcome(config).items():
        if is_fault:
            terminalreporter.write_line(f"error: {name} did not run though its tools are here: {reason}", red=True)
        else:
            terminalreporter.write_line(f"left out: {name}: {reason}")

"""Fixtures that several test modules need."""

import signal
from pathlib import Path

import pytest
import torch
from golden_checkpoints import open_golden
from random_checkpoints import write_checkpoint
from suites import pytest_addoption, pytest_sessionfinish, pytest_terminal_summary

from phantom_edge.bundle.folder import Bundle

__all__ = ["pytest_addoption", "pytest_sessionfinish", "pytest_terminal_summary"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background, where shells let Ctrl-C be ignored; the programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


FIRST = (
    *("test_readme.py::test_commands", "test_android_library.py", "test_web_library.py", "test_web_page.py"),
    *("test_pte_cli.py", "test_coreml_cli.py", "test_jetson.py"),
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long in one piece begins first: at the end, where workers meet, they would wait or make it twice.

    And what is long is slow.
    """
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: next((place for place, one in enumerate(FIRST) if one in item.nodeid), len(FIRST)))


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory):
    """Open a golden checkpoint by name."""
    scratch = tmp_path_factory.mktemp("golden")
    return lambda name: open_golden(name, scratch)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of random weights at full phantom strength."""
    return write_checkpoint(tmp_path_factory.mktemp("shared") / "checkpoint")


@pytest.fixture(scope="session")
def bundle(checkpoint: Path) -> Bundle:
    """Its bundle for ONNX Runtime; a test that changes it changes a copy."""
    from bundles import export_onnx

    return export_onnx(checkpoint, checkpoint.parent / "bundle", max_context=512)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs in other languages are compiled, once for all processes of a run."""
    from once import run_folder

    return run_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def kotlin_library(place: Path) -> Path:
    """The folder of Android's Kotlin library, compiled for a JVM."""
    from other_languages import kotlin_library as compiled

    return compiled(place)


@pytest.fixture(scope="session")
def conformance(place: Path) -> Path:
    """Conformance data, made now, by which the tests of apps prove these, of few questions; to be read only."""
    from conformance_data import write_conformance_data
    from once import made_once

    return made_once(place, "conformance", lambda folder: write_conformance_data(folder, "--few")) / "made"


@pytest.fixture(scope="session")
def whole_conformance(place: Path) -> Path:
    """Conformance data of all questions, for tests that take long."""
    from conformance_data import write_conformance_data
    from once import made_once

    return made_once(place, "whole-conformance", write_conformance_data) / "made"


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory):
    """No test writes into the history of whoever runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHANTOM_EDGE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever readline, which some package imports, found out about a terminal: output here goes into pipes."""
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield

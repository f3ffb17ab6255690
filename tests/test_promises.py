"""The page of promises: each of them names a test that exists; and the promise that nothing is sent."""

import ast
import re
import socket
from pathlib import Path

import pytest
from command_line import edge_inside
from noise import noise

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "promises.md"
NAMED = re.compile(r"`(tests/\w+\.py)::(\w+)`")


def promises() -> list[str]:
    return [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("- ")]


@pytest.mark.parametrize("promise", promises(), ids=lambda promise: promise[2:40])
def test_each_promise_names_tests_that_exist(promise: str) -> None:
    named = NAMED.findall(promise)
    assert named and promise.endswith("`).")
    for file, name in named:
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, name)


def test_the_page_is_found() -> None:
    assert len(promises()) > 20
    assert "docs/promises.md" in (ROOT / "README.md").read_text("utf-8")


def test_no_connection_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By asking a checkpoint and a bundle, exporting, and the self-test."""
    asked: list[object] = []

    def refuse(_socket: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError("there is no network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address: refuse(None, address))  # type: ignore[arg-type]
    noise((40, 30), 70).save(tmp_path / "a.png")
    bundle, question = tmp_path / "bundle", ("--image", tmp_path / "a.png", "--max-new-tokens", 2, "What is it?")
    for command in (
        ("run", *question),
        ("export", "nano", "--target", "onnx", "--out", bundle, "--max-context", 512, "--no-verify"),
        ("run", "--model", bundle, *question),
        ("verify", bundle, "--golden"),
    ):
        ran = edge_inside(*command)
        assert ran.returncode == 0, ran.stderr
    assert not asked

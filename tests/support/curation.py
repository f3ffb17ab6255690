"""Runs of ``data curate`` on questions without wrong answers, against a server of this machine."""

import json
import subprocess
from pathlib import Path

from chat_server import Answer, Asked, ChatServer, spoken
from command_line import COMMAND

from phantom_edge.data.triples import Triple


def willing(asked: Asked) -> Answer:
    """Write an answer that names its question, and confirm that it is wrong."""
    return spoken("Yes.") if asked.is_check else spoken(f"wrong of {asked.question}")


def pairs(folder: Path, number: int) -> Path:
    """A file of questions with their right answers."""
    path = folder / "pairs.jsonl"
    path.write_text("".join(Triple(f"q{row}?", f"right {row}").to_json() + "\n" for row in range(number)))
    return path


def curate(path: Path, server: ChatServer, *more: str, out: str = "out.jsonl") -> subprocess.CompletedProcess[bytes]:
    """Run ``data curate`` on a file against a server."""
    address = ("--endpoint", server.address, "--model", "m", "--out", str(path.parent / out))
    return subprocess.run(
        [*COMMAND, "data", "curate", str(path), *address, *more],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def report_of(done: subprocess.CompletedProcess[bytes], code: int = 0) -> dict:
    """The report of a run with ``--json``, which must have ended with this exit code."""
    assert done.returncode == code, done.stderr.decode()
    return json.loads(done.stdout)

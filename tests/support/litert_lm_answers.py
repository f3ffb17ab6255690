"""Answers of LiteRT-LM's own engine, in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def answers(container: Path, asked: Sequence[tuple[Sequence[Path], str]], most: int = 32) -> list[str]:
    """LiteRT-LM's answers to questions about tiles."""
    given = [[[str(path) for path in pictures], question] for pictures, question in asked]
    command = [sys.executable, "-m", "benchmarks.litert_lm", str(container), str(most)]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found

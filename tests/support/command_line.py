"""The command line: in a process of its own, in this one, and interrupted; its JSON document, and its refusals."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

import torch

from phantom_edge.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-c", "from phantom_edge.cli.start import main; main()"]


def flat(text: str) -> str:
    """The words of a screen in one line, wherever its width broke them."""
    return " ".join(text.split())


def edge(
    *arguments: object, stdin: bytes = b"", cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> CompletedProcess[str]:
    """Run the command in a process of its own, as its script does."""
    words = [*COMMAND, *map(_word, arguments)]
    ran = subprocess.run(words, input=stdin, capture_output=True, check=False, cwd=cwd, env=env)
    return CompletedProcess(words, ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def edge_inside(*arguments: object, cwd: Path | None = None, stdin: bytes = b"") -> CompletedProcess[str]:
    """Run the command in this process, which has imported torch already; gradients are enabled."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    words = list(map(_word, arguments))
    before, code = Path.cwd(), 0
    if cwd is not None:
        os.chdir(cwd)
    given = io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(err),
            patch.multiple(sys, argv=["phantom-edge", *words], stdin=given),
            torch.enable_grad(),
        ):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os.chdir(before)
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return CompletedProcess(words, code, stdout, stderr)


def document(*arguments: object) -> Any:
    """The document of a command with ``--json``, run in this process."""
    done = edge_inside(*arguments, "--json", cwd=ROOT)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)  # exactly one document: anything beside it would not parse


def refusal(done: CompletedProcess[str], about: object) -> str:
    """The problem of a command that must have failed for one: a line and its remedy on stderr, nothing on stdout."""
    assert done.returncode in (1, 2), (about, done.stderr)
    assert not done.stdout and "Traceback" not in done.stderr, (about, done.stderr)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, (about, done.stderr)
    assert done.stderr.splitlines()[-1].startswith("  "), (about, done.stderr)  # the remedy
    return errors[0]


def interrupted(command: Sequence[object], is_time: Callable[[], bool]) -> tuple[int, str]:
    """Exit code and stderr of the command in a process of its own, which gets Ctrl-C as soon as ``is_time``."""
    words = [sys.executable, "-m", "phantom_edge", *map(str, command)]
    signals = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job's children ignore it
    reset = f"import signal, sys, os; {signals}; os.execv(sys.argv[1], sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", reset, *words], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not is_time() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=120)
    return process.returncode, complaint


def _word(argument: object) -> str:
    return os.fsdecode(argument) if isinstance(argument, bytes) else str(argument)

"""The command line in this process, stopped in the middle, and on bundles that somebody changed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

import torch

from phantom_edge.bundle.folder import listing, sealed
from phantom_edge.bundle.manifest import MANIFEST, UNSEALED
from phantom_edge.cli.main import main


def edge_inside(*arguments: object, cwd: Path | None = None, stdin: bytes = b"") -> CompletedProcess[str]:
    """As a process of its own would do, in the seconds less that importing torch takes; it may train, too."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    words = [os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in arguments]
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


def stopped(command: Sequence[object], is_time: Callable[[], bool]) -> tuple[int, str]:
    """Exit code of a process of its own, and what it said, after Ctrl-C as soon as ``is_time``."""
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


def resealed(folder: Path, change: Callable[[Any], None] = lambda _: None) -> None:
    """Let a bundle look as if it had been exported like this."""
    text: Any = json.loads((folder / MANIFEST).read_text())
    files = listing(folder, text["files"])
    text["files"] = {name: {"bytes": file.bytes, "sha256": file.sha256} for name, file in files.items()}
    text["seal"] = UNSEALED
    change(text)
    (folder / MANIFEST).write_text(sealed(json.dumps(text, indent=1)))

"""The command line in this process: for mistakes, which are many and end before anything is computed."""

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import patch

from phantom_edge.cli.main import main


def edge_inside(*arguments: object, cwd: Path | None = None, stdin: bytes = b"") -> CompletedProcess[str]:
    """As a process of its own would do, in the seconds less that importing torch takes."""
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
        ):
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os.chdir(before)
    stdout, stderr = (stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return CompletedProcess(words, code, stdout, stderr)

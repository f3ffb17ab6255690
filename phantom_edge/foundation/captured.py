"""Capture of stderr, that of libraries in other languages too."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

ONE_AT_A_TIME = threading.RLock()
"""Lets one thread at a time redirect stderr: several could not restore it in order."""


@contextmanager
def captured_stderr() -> Iterator[Any]:
    """Redirects stderr, the process's own and Python's ``sys.stderr``, to the file that it yields."""
    with (
        ONE_AT_A_TIME,
        tempfile.TemporaryFile() as words,
        open(os.dup(words.fileno()), "w", buffering=1, errors="replace") as lines,
    ):
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(words.fileno(), 2)
        try:
            with redirect_stderr(lines):
                yield words
        finally:
            os.dup2(kept, 2)
            os.close(kept)

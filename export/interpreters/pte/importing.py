"""Import of ExecuTorch with its output silenced, and capture of its stderr."""

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import ModuleType
from typing import Any

from phantom_edge.foundation.quiet import need_quietly


def executorch(module: str = "executorch.exir") -> ModuleType:
    """Imports a module of ``executorch``. Raises EdgeError if that is not installed."""
    return need_quietly(module)


def fused_operators() -> None:
    """Registers ``llama::update_cache`` and ``llama::custom_sdpa`` with torch, and their kernels with the runtime."""
    executorch("executorch.extension.llm.custom_ops.custom_ops")


def quantized_operators() -> None:
    """Registers embeddings of integers with torch, and their kernels with the runtime."""
    executorch("executorch.exir.passes._quant_patterns_and_replacements")
    executorch("executorch.kernels.quantized")


ONE_AT_A_TIME = threading.RLock()
"""Lets one thread at a time redirect stderr: several could not restore it in order."""


@contextmanager
def captured_stderr() -> Iterator[Any]:
    """Redirects stderr, ExecuTorch's own and Python's ``sys.stderr``, to the file that it yields."""
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

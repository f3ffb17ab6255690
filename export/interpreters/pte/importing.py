"""ExecuTorch, which speaks while it is imported and while it works."""

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
    """A module of ``executorch``. Raises EdgeError if that is not installed."""
    return need_quietly(module)


def fused_operators() -> None:
    """Make torch know ``llama::update_cache`` and ``llama::custom_sdpa``, and the runtime what runs them."""
    executorch("executorch.extension.llm.custom_ops.custom_ops")


def quantized_operators() -> None:
    """Make torch know embeddings of integers, and the runtime what runs them."""
    executorch("executorch.exir.passes._quant_patterns_and_replacements")
    executorch("executorch.kernels.quantized")


ONE_AT_A_TIME = threading.RLock()
"""Threads that take stderr away from each other would not give it back in order."""


@contextmanager
def said() -> Iterator[Any]:
    """A file of what ExecuTorch writes to stderr meanwhile, by itself or through Python's ``sys.stderr``."""
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

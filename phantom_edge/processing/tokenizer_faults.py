"""Faults of the tokenizers library: whatever its Rust code raises becomes a ValueError of one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from phantom_edge.foundation.errors import EdgeError

PROBE = "a é語\u200b\ufb01<img>"
"""A text of letters, marks and a reserved token: some faults of a file show only when it is used."""


@contextmanager
def one_line_faults() -> Iterator[None]:
    """Raises ValueError for what the library raises: a bare Exception, or a panic, which no ``except Exception`` sees.

    What a panic writes on stderr by itself is lost.
    """
    try:
        with _silent_stderr():
            yield
    except EdgeError:
        raise
    except Exception as error:
        raise ValueError(_line(error)) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(_line(error)) from error


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Point the process's stderr nowhere, as Rust writes past Python's."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

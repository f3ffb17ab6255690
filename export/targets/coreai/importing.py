"""Imports Apple's Core AI packages with their output silenced."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType

from phantom_edge.foundation.errors import need


def coreai(module: str) -> ModuleType:
    """Imports a module of ``coreai`` or ``coreai_torch``. Raises EdgeError where it is not installed.

    ``coreai_torch`` warns about torch 2.13.0+cpu, which it takes for later than the 2.13.0 of its tests.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        need("coreai_torch")
    return need(module)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the converter's progress on stdout, and warnings about torch's own code."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield

"""Apple's Core AI packages, which speak while they work."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType

from phantom_edge.foundation.errors import need


def coreai(module: str) -> ModuleType:
    """A module of ``coreai`` or ``coreai_torch``. Raises EdgeError if that is not installed.

    The latter's import warns about torch 2.13.0+cpu, which it takes for later than the 2.13.0 that it was tested with.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        need("coreai_torch")
    return need(module)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing on stdout, where the converter says that it converts, and no warnings about torch's own code."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield

"""Silence for packages that warn on import and in use, about torch's code or kernels for other machines."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from phantom_edge.foundation.errors import need


@contextmanager
def quiet() -> Iterator[None]:
    """Suppresses Python's warnings and log messages up to WARNING."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def need_quietly(module: str) -> ModuleType:
    """Import ``module`` with the warnings of its package suppressed. Raises EdgeError as ``need`` does."""
    with quiet():
        need(module.partition(".")[0])
        return need(module)

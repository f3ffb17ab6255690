"""Packages that warn while they are imported and while they work: of torch's code, of kernels for other machines."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from phantom_edge.foundation.errors import need


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings, of whichever kind."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def need_quietly(module: str) -> ModuleType:
    """Import ``module`` without the warnings of its package, or say which pip command brings it."""
    with quiet():
        need(module.partition(".")[0])
        return need(module)

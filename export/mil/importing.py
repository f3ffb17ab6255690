"""coremltools without the warnings that it prints when it is imported."""

import logging
from types import ModuleType

from phantom_edge.errors import need

SILENCED = "coremltools"


def coremltools(module: str = "coremltools") -> ModuleType:
    """``coremltools``, or a module inside it.

    Its import warns about versions of torch and scikit-learn, which it was not tested with, and about the libraries of
    macOS, which other systems lack; none of it concerns us. Raises EdgeError if it is not installed.
    """
    logger = logging.getLogger(SILENCED)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        need(SILENCED, "coreml")
        return need(module, "coreml")
    finally:
        logger.setLevel(level)

"""coremltools without the warnings that it prints when it is imported."""

from types import ModuleType

from phantom_edge.foundation.quiet import need_quietly


def coremltools(module: str = "coremltools") -> ModuleType:
    """``coremltools``, or a module inside it.

    Its import warns about versions of torch and scikit-learn, which it was not tested with, and about the libraries of
    macOS, which other systems lack, and torchao's, if it is there, of kernels; none of it concerns us. Raises EdgeError
    if it is not installed.
    """
    return need_quietly(module)

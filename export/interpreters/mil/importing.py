"""Import of coremltools with its warnings silenced."""

from types import ModuleType

from phantom_edge.foundation.quiet import need_quietly


def coremltools(module: str = "coremltools") -> ModuleType:
    """Imports ``coremltools``, or a module inside it. Raises EdgeError if it is not installed.

    It warns about untested versions of torch and scikit-learn and about macOS libraries, and torchao, if installed,
    about kernels; none of it matters here.
    """
    return need_quietly(module)

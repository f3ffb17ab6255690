"""Import of ExecuTorch with its output silenced."""

from types import ModuleType

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

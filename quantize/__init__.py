"""Weight quantization, one file per scheme. No scheme has landed yet, so the table is empty."""

from types import ModuleType

SCHEMES: dict[str, ModuleType] = {}

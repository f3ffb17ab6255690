"""Lowering to device formats, one file per target. No target has landed yet, so the table is empty."""

from types import ModuleType

TARGETS: dict[str, ModuleType] = {}

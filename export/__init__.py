"""Lowering to device formats: passes, one room per target (``targets.TARGETS``), bundles, and their verification."""

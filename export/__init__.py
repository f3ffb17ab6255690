"""Lowering to device formats: passes, one file per target (``targets.TARGETS``), bundles, and their verification."""

"""Proof that a bundle computes its model: cases, measures, verdicts, and the report."""

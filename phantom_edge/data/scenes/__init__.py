"""Procedural AR-like pictures whose every fact is known, with questions and near-miss answers."""

"""Measurements of this project: ``python -m benchmarks.NAME``. ``harness`` is what all of them share."""

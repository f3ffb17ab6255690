"""Lint: the operations of a bundle that a device can run, and the documented rules that others break.

This is the engine; the rules of a target are data in its room. Only a device's compiler decides where an operation
runs, and only on the device.
"""

from phantom_edge.export.lint.engine import Finding, PartReport, Report, Severity, report
from phantom_edge.export.lint.sources import GITHUB, Source

__all__ = ["GITHUB", "Finding", "PartReport", "Report", "Severity", "Source", "report"]

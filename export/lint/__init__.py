"""Which operations of a bundle a device can take, and why not, with a source for every rule.

Here is the engine; the rules of a target are data in its room. Nobody but a device's compiler decides where an
operation runs, and it says so on a device only.
"""

from phantom_edge.export.lint.engine import Finding, PartReport, Report, Severity, report
from phantom_edge.export.lint.sources import GITHUB, Source

__all__ = ["GITHUB", "Finding", "PartReport", "Report", "Severity", "Source", "report"]

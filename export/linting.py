"""Hold a bundle against the documented rules of its target."""

from pathlib import Path

from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.export.lint import Report
from phantom_edge.export.targets import TARGETS, target_of
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Counting, no_progress


def lint_bundle(folder: Path, begin: Counting = no_progress) -> Report:
    """Which operations a device can take, and why not the rest; ``begin`` counts the bytes to read.

    Raises EdgeError for what is no bundle, or is for a target without rules.
    """
    name = read_manifest(folder).target
    if name not in TARGETS or TARGETS[name].lint is None:
        known = [one.name for one in TARGETS.values() if one.lint is not None]
        raise EdgeError(
            f"lint knows targets {', '.join(known[:-1])} and {known[-1]}; {folder} was made for target {name}",
            f"export it again: phantom-edge export --target {known[0]}",
        )
    bundle = Bundle.open(folder, begin=begin)
    found = target_of(bundle).lint
    assert found is not None
    return found.run()(bundle)

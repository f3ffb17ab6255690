"""Golden files as a part of an export."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from phantom_edge.bundle.folder import Bundle, listing
from phantom_edge.bundle.golden import GOLDEN
from phantom_edge.bundle.manifest import Manifest
from phantom_edge.checkpoint.source import Source
from phantom_edge.export.proof.golden import write_golden
from phantom_edge.export.targets.target import Target
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.progress import Progress
from phantom_edge.foundation.resume import Unfinished

PART = "golden files"


def add_golden(
    bundle: Bundle, target: Target, source: Source, parts: Unfinished, begin: Progress, *, is_proved: bool
) -> Manifest:
    """Returns the manifest with golden files. A bundle that ``is_proved`` answers itself, and is compared with them.

    Raises EdgeError where it then differs, and removes the parts unless the target keeps them.
    """

    def write(folder: Path) -> list[str]:
        tested = write_golden(bundle, source, folder, partial(begin, PART), by_bundle=is_proved)
        return [] if tested is None else [f"{one.name}: {one.found}, not {one.expected}" for one in tested.faults()]

    if faults := parts.part(PART, write, anew=True):
        if not target.keeps_parts:
            parts.discard()
        raise EdgeError(
            f"this bundle differs from its own golden files, and was not written: {faults[0]}",
            f"try --phantom full or {target.other}; to investigate: --no-verify, then phantom-edge verify --golden",
        )
    files = listing(parts.folder, parts.done[PART].files)
    return replace(bundle.manifest, golden=GOLDEN, files=dict(sorted((bundle.manifest.files | files).items())))

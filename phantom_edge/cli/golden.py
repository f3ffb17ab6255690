"""``phantom-edge verify --golden``: a bundle's self-test, without its checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from phantom_edge import api
from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.cli.bundles import note_caution
from phantom_edge.cli.console import note, print_json, print_table, tasks
from phantom_edge.foundation.errors import UsageError

if TYPE_CHECKING:
    from phantom_edge.runtime.self_test import Finding


def verify_golden(bundle: Path, flags: Sequence[str], *, json: bool) -> None:
    """Compares a bundle with its golden files, and prints the result; exit code 1 where they differ.

    Raises EdgeError for ``flags``, which are for a comparison with the checkpoint.
    """
    if flags:
        raise UsageError(
            f"{flags[0]} is for a comparison with the checkpoint, and --golden needs none", "leave one of the two out"
        )
    with tasks() as begin:
        result = api.self_test_bundle(bundle, progress=begin)
    if json:
        findings = [asdict(one) for one in result.findings]
        left_out = list(result.left_out)
        print_json({"bundle": str(bundle), "passed": result.passed, "left_out": left_out, "checks": findings})
    else:
        print_table(
            f"{bundle} against its golden files",
            ("about", "check", "expected", "found", ""),
            [_row(one) for one in result.findings],
            "errors as shares of the largest magnitude",
        )
        note_caution(Bundle(bundle, read_manifest(bundle)))
        for case in result.left_out:
            note(f"question left out: {case} (does not fit into the cache)")
        if not result.passed:
            note(f"{len(result.faults())} of {len(result.findings)} checks failed: something here computes otherwise")
    if not result.passed:
        raise typer.Exit(1)


def _row(finding: "Finding") -> tuple[str, ...]:
    """Cells of a finding; its name is ``'QUESTION': CHECK``, ``PICTURE: CHECK`` or a check of the whole bundle."""
    about, _, check = finding.name.rpartition(": ")
    return (about.strip("'") or "-", check, finding.expected, finding.found, "ok" if finding.passed else "FAILED")

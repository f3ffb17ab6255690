"""``phantom-edge verify --golden``: a bundle's self-test, without its checkpoint."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from phantom_edge import api
from phantom_edge.bundle.folder import Bundle, read_manifest
from phantom_edge.cli.bundles import note_caution
from phantom_edge.cli.console import note, print_json, print_table, tasks
from phantom_edge.foundation.errors import UsageError


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
        rows = [(one.name, one.expected, one.found, "ok" if one.passed else "FAILED") for one in result.findings]
        print_table(
            f"{bundle} against its golden files",
            ("check", "expected", "found", ""),
            rows,
            "errors as shares of the largest magnitude",
        )
        note_caution(Bundle(bundle, read_manifest(bundle)))
        for case in result.left_out:
            note(f"question left out: {case} (does not fit into the cache)")
        if not result.passed:
            note(f"{len(result.faults())} of {len(result.findings)} checks failed: something here computes otherwise")
    if not result.passed:
        raise typer.Exit(1)

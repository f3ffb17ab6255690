"""Write the JSON Schemas of what others read or write, from the dataclasses that read it: bundles and profiles."""

import json
from pathlib import Path
from typing import Any

from phantom_edge.bundle.proof_file import ProofFile
from phantom_edge.export.manifest_schema import manifest_schema
from phantom_edge.foundation.typed import one_of, schema
from phantom_edge.profile.measure.lines import KINDS
from phantom_edge.profile.result import Run

ROOT = Path(__file__).resolve().parents[1]


def schemas() -> dict[Path, dict[str, Any]]:
    """Documents by the files that hold them."""
    profile = ROOT / "phantom_edge" / "profile"
    return {
        ROOT / "phantom_edge" / "bundle" / "schema.json": manifest_schema(),
        ROOT / "phantom_edge" / "bundle" / "schema_proof.json": schema(
            ProofFile, "proof.json of a phantom-edge bundle"
        ),
        profile / "schema.json": schema(Run, "a profile by phantom-edge"),
        profile / "schema_lines.json": one_of(KINDS, "a line of what measures a bundle on a device"),
    }


def main() -> None:
    """Write them."""
    for path, document in schemas().items():
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write export/bundle/schema.json, the JSON Schema of phantom.json, from the dataclasses that read it."""

import json
from pathlib import Path

from phantom_edge.export.bundle.manifest import Manifest
from phantom_edge.typed import schema

SCHEMA = Path(__file__).resolve().parents[1] / "export" / "bundle" / "schema.json"


def main() -> None:
    """Write it."""
    document = schema(Manifest, "phantom.json of a phantom-edge bundle")
    SCHEMA.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

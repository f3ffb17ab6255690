"""Graphs of XNNPACK payloads as JSON, converted from flatbuffers by the flatc of ExecuTorch's wheel.

flatc is a process of its own, so a damaged graph cannot crash Python. It writes floats with six digits after the point,
so readers of the JSON refuse nodes with floats; XNNPACK's weights and scales are not in the graph.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phantom_edge.bundle.folder import AGAIN
from phantom_edge.export.interpreters.pte.importing import executorch
from phantom_edge.foundation.errors import EdgeError

SECONDS = 120
SERIALIZE = "executorch.backends.xnnpack.serialization.xnnpack_graph_serialize"
BARE = re.compile(r":\s*(-?)(inf|nan)\b")
"""Floats in flatc's output that JSON does not allow."""


def graphs_of(flatbuffers: Sequence[bytes]) -> list[dict[str, Any]]:
    """Converts all graphs in one run, because starting flatc is slow. Raises EdgeError for a damaged one."""
    if not flatbuffers:
        return []
    flatc = executorch("executorch.exir._serialize._flatbuffer")._get_flatc_path()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        schema = folder / "schema.fbs"
        schema.write_bytes(executorch(SERIALIZE)._get_schema_bytes())
        paths = [folder / f"{number}.bin" for number in range(len(flatbuffers))]
        for path, data in zip(paths, flatbuffers, strict=True):
            path.write_bytes(data)
        command = [flatc, "--json", "--defaults-json", "--strict-json", "-o", scratch, str(schema), "--", *paths]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
            return [_loaded(path.with_suffix(".json")) for path in paths]
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            raise EdgeError(f"a graph of XNNPACK in the program is damaged ({type(error).__name__})", AGAIN) from error


def _loaded(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    found = json.loads(BARE.sub(lambda match: f': "{match[1]}{match[2]}"', text))
    if not isinstance(found, dict):
        raise ValueError("no graph")
    return found

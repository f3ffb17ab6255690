"""Shares of a model that each backend of ExecuTorch takes: the program is lowered here, and only some run here.

    python -m benchmarks.backends --out benchmarks/results/backends.json
    python -m benchmarks.backends --size 0.5b --layers 2

Shares are of operators, and of the multiply-adds of one tile or of one token that sees a full cache. The ceiling: all
of both. A size is made with random weights, its decoder and its tower of so many ``--layers``. ``--only``: some
backends.
"""

import platform
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from benchmarks.harness import begin, machine
from benchmarks.materials import checkpoint
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.executorch.options import Backend, ExecuTorchOptions
from phantom_edge.export.targets.target import Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.versions import installed
from phantom_edge.models.shipped import NAME
from phantom_edge.models.sizes import SIZES

TOOLS = ("executorch", "torch", "coremltools")


def lower(model: str, backend: Backend, context: int, scratch: Path) -> list[dict[str, Any]]:
    """A row for each method, or one of what is missing."""
    settings = Settings(max_context=context, options=ExecuTorchOptions(backend, self_test=False))
    try:
        exported = export_bundle(model, "executorch", scratch / backend, settings, prove=False)
    except EdgeError as error:
        return [{"backend": backend, "error": error.problem}]
    except (AssertionError, RuntimeError, TypeError, ValueError, KeyError, OSError) as error:  # of somebody's compiler
        return [{"backend": backend, "error": f"{type(error).__name__}: {error}".splitlines()[0]}]
    manifest = exported.bundle.manifest
    whole = {
        "program_megabytes": round(manifest.files[manifest.parts["decoder"].file].bytes / 1e6, 1),
        "program_seconds": round(exported.seconds["program"]),
        "runs_here": not exported.unproved,
    }
    rows = []
    for part in manifest.parts.values():
        found = part.delegation
        row: dict[str, Any] = {"backend": backend, "method": part.function, "precision": part.precision}
        if found is None:
            row |= {"subgraphs": 0, "share_of_operators": 0.0, "share_of_multiply_adds": 0.0, "outside": part.operators}
        else:
            row |= {
                "subgraphs": found.subgraphs,
                "share_of_operators": round(found.share, 4),
                "share_of_multiply_adds": round(found.share_of_work, 4),
                "outside": found.outside,
            }
        rows.append(row | whole)
    return rows


def main() -> None:
    """Lower and write."""
    bench = begin("backends", __doc__, size=NAME, layers=2, context=1024, only=list(get_args(Backend)))
    asked, rows = bench.asked, list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(dir=bench.scratch) as folder:
        scratch, model = Path(folder), NAME
        if asked.size != NAME:
            size = SIZES[asked.size]
            fewer = replace(size, layers=asked.layers, vision=replace(size.vision, layers=asked.layers))
            model = str(checkpoint(fewer, scratch / "model", eta=1.0))
        for backend in (one for one in get_args(Backend) if one in asked.only):
            rows += lower(model, backend, asked.context, scratch)
            print(rows[-1], file=sys.stderr)
    document = {
        "model": asked.size if asked.size == NAME else f"{asked.size}, {asked.layers} layers, random weights",
        "context": asked.context,
        "machine": machine(platform.system()),
        "tools": {name: installed(name) for name in TOOLS},
        "rows": rows,
    }
    bench.write(document)


if __name__ == "__main__":
    main()

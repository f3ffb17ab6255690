"""What each backend of ExecuTorch takes of a model: the program is lowered here, and only some run here.

    python benchmarks/backends.py --out benchmarks/results/backends.json
    python benchmarks/backends.py --size 0.5b --layers 2 --out runs/backends.json

Shares are of operators, and of the multiply-adds of one tile or of one token that sees a full cache. The ceiling: all
of both. A size is made with random weights, its decoder and its tower of so many ``--layers``.
"""

import argparse
import json
import platform
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

from rich.console import Console
from rich.table import Table

from phantom_edge.convert.random import write_random
from phantom_edge.export.pipeline import export_bundle
from phantom_edge.export.targets.executorch.backends import BACKENDS
from phantom_edge.export.targets.target import Backend, Settings
from phantom_edge.foundation.errors import EdgeError
from phantom_edge.foundation.versions import installed
from phantom_edge.models.shipped import NAME
from phantom_edge.models.sizes import SIZES

TOOLS = ("executorch", "torch", "coremltools")


def lower(model: str, backend: Backend, context: int, scratch: Path) -> list[dict[str, Any]]:
    """A row for each method, or one of what is missing."""
    settings = Settings(backend=backend, max_context=context, self_test=False)
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


def show(rows: list[dict[str, Any]]) -> None:
    """A table."""
    table = Table("backend", "method", "subgraphs", "operators", "multiply-adds", "outside", "program, MB", "seconds")
    for row in rows:
        if "error" in row:
            table.add_row(row["backend"], "", "", "", "", row["error"])
            continue
        shown = ", ".join(f"{name} {count}" for name, count in list(row["outside"].items())[:4])
        shares = (f"{row[name]:.1%}" for name in ("share_of_operators", "share_of_multiply_adds"))
        program = (str(row["program_megabytes"]), str(row["program_seconds"]))
        table.add_row(row["backend"], row["method"], str(row["subgraphs"]), *shares, shown, *program)
    Console(width=160).print(table)


def main() -> None:
    """Lower, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=(NAME, *SIZES), default=NAME)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--only", nargs="*", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        model = NAME
        if options.size != NAME:
            model, size = str(Path(scratch) / "model"), SIZES[options.size]
            vision = replace(size.vision, layers=options.layers)
            write_random(replace(size, layers=options.layers, vision=vision), Path(model), eta=1.0)
        for backend in (one for one in get_args(Backend) if one in options.only):
            rows += lower(model, cast("Backend", backend), options.context, Path(scratch))
            print(rows[-1], file=sys.stderr)
    document = {
        "model": options.size if options.size == NAME else f"{options.size}, {options.layers} layers, random weights",
        "context": options.context,
        "machine": f"{platform.machine()}, {platform.system()}",
        "tools": {name: installed(name) for name in TOOLS},
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    show(rows)


if __name__ == "__main__":
    main()

"""The Markdown of every result, from its JSON: what a benchmark writes beside it, and the README and docs include.

    python -m benchmarks.tables            write benchmarks/results/*.md anew; nothing is measured
    python -m benchmarks.tables --check    exit 1 where one is out of date

``sizes`` is counted, and has no JSON; what was not measured yet has no table.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import model_tables, po_report, target_tables, walk_tables

RESULTS = Path(__file__).parent / "results"

TABLES: dict[str, Callable[[Any], str]] = {
    "sizes": model_tables.sizes,
    "memory": model_tables.memory,
    "nano": model_tables.nano,
    "nano-ruler.parts": model_tables.ruler_parts,
    "nano-ruler.kinds": model_tables.ruler_kinds,
    "nano-ruler.tiles": model_tables.ruler_tiles,
    "nano-ruler.probe": model_tables.ruler_probe,
    "po-unanswerable": model_tables.po_unanswerable,
    "scenes": model_tables.scenes,
    "own-triples": model_tables.own_triples,
    "walk": walk_tables.walk,
    "walk.mistakes": walk_tables.mistakes,
    "page": walk_tables.page,
    "qlora": model_tables.qlora,
    "export": model_tables.export,
    "decode": model_tables.decode,
    "decode-int4": model_tables.decode,
    "draft": model_tables.draft,
    "quality": target_tables.quality,
    "targets": target_tables.targets,
    "vision": target_tables.vision,
    "peers": target_tables.peers,
    "peers.ranges": target_tables.peers_ranges,
    "peers.files": target_tables.peers_files,
    "programs": target_tables.programs,
    "packages": target_tables.packages,
    "backends": target_tables.backends,
    "mbq": model_tables.mbq,
    "qnn": target_tables.qnn,
    "qnn-large": target_tables.qnn_large,
    "web": target_tables.web,
    "litert": target_tables.litert,
    "litert-placement": target_tables.litert_placement,
    "phantom-fp16": target_tables.phantom_fp16,
    "plan": model_tables.plan,
    "po-study.cells": po_report.cells,
    "po-study.differences": po_report.differences,
    "po-study.kinds": po_report.kinds,
    "po-study.eta": po_report.eta_table,
}
"""By the name of the result; one that has several tables has their names behind a dot."""


def tables_of(result: str, document: Any) -> dict[str, str]:
    """The text of each file of a result's tables, by its name."""
    return {f"{name}.md": f"{make(document)}\n" for name, make in TABLES.items() if name.partition(".")[0] == result}


def main() -> None:
    """Write all, or look whether they are as they would be written."""
    for result in dict.fromkeys(name.partition(".")[0] for name in TABLES):
        measured = RESULTS / f"{result}.json"
        if result != "sizes" and not measured.is_file():
            continue
        document = json.loads(measured.read_text(encoding="utf-8")) if measured.is_file() else None
        for name, text in tables_of(result, document).items():
            file = RESULTS / name
            if sys.argv[1:] != ["--check"]:
                file.write_text(text, encoding="utf-8")
            elif not file.is_file() or file.read_text(encoding="utf-8") != text:
                sys.exit(f"benchmarks/results/{name} is out of date; run: python -m benchmarks.tables")


if __name__ == "__main__":
    main()

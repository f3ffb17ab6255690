"""ChartQA (arXiv 2203.10244): questions about charts, numbers right within 5 %.

``chartqa/test/test_augmented.json`` and ``chartqa/test/test_human.json`` as its authors publish them, pictures in
``chartqa/test/png``. The benchmark is both files; the released Phantom code reads the first alone, so the second may
be absent. That code also cuts an answer with digits after its first word and ignores per cent signs; we do neither.
"""

from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.entries import read_list
from phantom_edge.evaluate.benchmarks.prompts import SHORT_SUFFIX


def read_chartqa(root: Path) -> list[Example]:
    """Read all questions, of kind "augmented" and "human". Raises EdgeError for a missing file or field."""
    folder = root / "chartqa" / "test"
    kinds = ["augmented", *(["human"] if (folder / "test_human.json").is_file() else [])]
    return [
        Example(
            entry.text("query") + SHORT_SUFFIX,
            entry.text("label"),
            (folder / "png" / entry.text("imgname"),),
            kind,
            "relaxed",
        )
        for kind in kinds
        for entry in read_list(folder / f"test_{kind}.json")
    ]

"""POPE (arXiv 2305.10355): presence of an object in the picture.

``POPE/coco_pope_{random,popular,adversarial}.json`` with a question in each line, as its authors publish them;
pictures in ``coco2014/val2014``, where the released Phantom code looks for them. F1 and yes ratio are reported beside
the accuracy. The three kinds are named after their files (the released code mixes up two of the names).
"""

from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.entries import AGAIN, read_json_lines
from phantom_edge.evaluate.benchmarks.prompts import SHORT_SUFFIX
from phantom_edge.foundation.errors import EdgeError

KINDS = ("random", "popular", "adversarial")


def read_pope(root: Path) -> list[Example]:
    """Read all questions of the three files. Raises EdgeError for a missing file or a label other than yes and no."""
    examples = []
    for kind in KINDS:
        for entry in read_json_lines(root / "POPE" / f"coco_pope_{kind}.json"):
            label = entry.text("label")
            if label not in ("yes", "no"):
                raise EdgeError(f"{entry.where}: the label is {label!r}, neither yes nor no", AGAIN)
            picture = root / "coco2014" / "val2014" / entry.text("image")
            examples.append(Example(entry.text("text") + SHORT_SUFFIX, label, (picture,), kind, "yes or no"))
    return examples

"""MMStar (arXiv 2403.20330): questions that cannot be answered without their picture.

``MMStar/mmstar.parquet``, published by its authors and read by the released Phantom code: the choices are part of the
question, the picture is bytes. Or ``MMStar/MMStar.tsv``: the picture is base64, and where there are columns A to D the
choices are added from them (seen in other readers of that file, not checked on the file itself). Kinds are the
categories.
"""

from collections.abc import Iterator
from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.entries import AGAIN, Entry, decode_picture, read_parquet, read_tsv
from phantom_edge.evaluate.benchmarks.prompts import LETTER_SUFFIX, lettered
from phantom_edge.foundation.errors import EdgeError

COLUMNS = ("question", "answer", "category", "image")


def read_mmstar(root: Path) -> list[Example]:
    """Read all rows. Raises EdgeError for missing columns, broken pictures, or an answer that is no letter."""
    examples = []
    for entry in _rows(root / "MMStar"):
        answer = entry.text("answer").strip().upper()
        if answer not in ("A", "B", "C", "D"):
            raise EdgeError(f"{entry.where}: the answer {answer!r} is none of A, B, C, D", AGAIN)
        choices = [entry.text(letter) for letter in "ABCD" if letter in entry.fields]
        question = "\n".join((entry.text("question"), *([lettered(choices)] if choices else []))) + LETTER_SUFFIX
        picture = decode_picture(entry, "image")
        examples.append(Example(question, answer, (picture,), entry.text("category"), "letter"))
    return examples


def _rows(folder: Path) -> Iterator[Entry]:
    table = folder / "MMStar.tsv"
    if table.is_file() and not (folder / "mmstar.parquet").is_file():
        return read_tsv(table, COLUMNS)
    return read_parquet(folder / "mmstar.parquet", COLUMNS)

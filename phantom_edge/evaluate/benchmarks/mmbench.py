"""MMBench (arXiv 2307.06281), the English dev questions: a table whose pictures are base64.

``MMBench/mmbench_dev_20230712.tsv``, the name that the released Phantom code expects, or the later
``mmbench_dev_en_20231003.tsv``. Every row counts by itself, as in the released code; the benchmark's own "circular"
score, which asks each question with its choices in every order, is lower. Kinds are the categories.
"""

from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.entries import AGAIN, Entry, decode_picture, read_tsv
from phantom_edge.evaluate.benchmarks.prompts import LETTER_SUFFIX, lettered
from phantom_edge.foundation.errors import EdgeError

NAMES = ("mmbench_dev_20230712.tsv", "mmbench_dev_en_20231003.tsv")
COLUMNS = ("index", "question", "A", "B", "answer", "category", "image")
LONGEST_INDEX = 64
"""A shorter cell is the index of the row with the picture."""


def read_mmbench(root: Path) -> list[Example]:
    """Read all rows. Raises EdgeError for missing columns (test files have no answers) and invalid base64."""
    folder = root / "MMBench"
    path = next((folder / name for name in NAMES if (folder / name).is_file()), folder / NAMES[0])
    pictures: dict[str, bytes] = {}
    examples = []
    for entry in read_tsv(path, COLUMNS):
        picture = _picture(entry, pictures)
        choices = {letter: entry.text(letter) for letter in "ABCD" if letter in entry.fields}
        answer = entry.text("answer")
        if answer not in choices:
            raise EdgeError(f"{entry.where}: the answer {answer!r} is none of its choices", AGAIN)
        hint = [entry.text("hint")] if "hint" in entry.fields else []
        question = "\n".join((*hint, entry.text("question"), lettered(list(choices.values())))) + LETTER_SUFFIX
        examples.append(Example(question, answer, (picture,), entry.text("category"), "letter"))
    return examples


def _picture(entry: Entry, pictures: dict[str, bytes]) -> bytes:
    """Returns the row's picture, which may be that of an earlier row."""
    cell = entry.text("image")
    if len(cell) < LONGEST_INDEX and cell in pictures:
        return pictures[cell]
    return pictures.setdefault(entry.text("index"), decode_picture(entry, "image"))

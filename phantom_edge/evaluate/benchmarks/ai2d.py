"""AI2D (arXiv 1603.07396): diagrams of school books.

``ai2d/ai2d_test.json``, a list in the released Phantom code's form; pictures in ``ai2d/images``, or, where the
choices are letters written into the picture, in ``ai2d/abc_images``. Not checked on the files themselves: AI2D's
authors publish neither the list nor the pictures with letters in this form, so the released reader alone was followed.
"""

from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.entries import AGAIN, read_list
from phantom_edge.evaluate.benchmarks.prompts import LETTER_SUFFIX, LETTERS, lettered
from phantom_edge.foundation.errors import EdgeError


def read_ai2d(root: Path) -> list[Example]:
    """Read all questions. Raises EdgeError for missing files and fields, or an answer that is no choice."""
    folder = root / "ai2d"
    examples = []
    for entry in read_list(folder / "ai2d_test.json"):
        about = entry.inner("metadata")
        choices, answer = about.texts("answerTexts"), about.number("correctAnswer")
        if not 0 <= answer < len(choices):
            raise EdgeError(f"{about.where}: the answer is {answer}, of {len(choices)} choices", AGAIN)
        picture = folder / ("abc_images" if about.fields.get("abcLabel") else "images") / entry.text("imageName")
        question = f"{entry.text('question')}\n{lettered(choices, ' ')}{LETTER_SUFFIX}"
        kind = "letters in the picture" if about.fields.get("abcLabel") else "words"
        examples.append(Example(question, LETTERS[answer], (picture,), kind, "letter"))
    return examples

"""ScienceQA (arXiv 2209.09513), the test questions that have a picture.

``ScienceQA/problems.json`` and ``ScienceQA/pid_splits.json`` as its authors publish them, pictures in
``ScienceQA/images/test/<id>/image.png``. Kinds are the subjects.
"""

from pathlib import Path

from phantom_edge.data.examples import Example
from phantom_edge.evaluate.benchmarks.entries import AGAIN, read_object
from phantom_edge.evaluate.benchmarks.prompts import LETTER_SUFFIX, LETTERS, lettered
from phantom_edge.foundation.errors import EdgeError


def read_scienceqa(root: Path) -> list[Example]:
    """Read the questions, hint first. Raises EdgeError for missing files and fields, or an answer that is no choice."""
    folder = root / "ScienceQA"
    problems = read_object(folder / "problems.json")
    examples = []
    for name in read_object(folder / "pid_splits.json").texts("test"):
        problem = problems.inner(name)
        if problem.fields.get("image") is None:
            continue
        choices, answer = problem.texts("choices"), problem.number("answer")
        if not 0 <= answer < len(choices):
            raise EdgeError(f"{problem.where}: the answer is {answer}, of {len(choices)} choices", AGAIN)
        question = "\n".join((problem.text("hint"), problem.text("question"), lettered(choices))) + LETTER_SUFFIX
        picture = folder / "images" / "test" / name / "image.png"
        kind = problem.text("subject") if "subject" in problem.fields else "-"
        examples.append(Example(question, LETTERS[answer], (picture,), kind, "letter"))
    return examples

"""The released evaluation's words around a question. Source: ``make_instruction`` of the released utils."""

from collections.abc import Sequence

LETTER_SUFFIX = "\nAnswer with the option's letter from the given choices directly."
SHORT_SUFFIX = "\nAnswer the question using a single word or phrase."

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def lettered(choices: Sequence[str], between: str = "\n") -> str:
    """Returns choices as "A. red", "B. blue"."""
    return between.join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))

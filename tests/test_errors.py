"""Errors are one line and a remedy, whatever names they quote."""

import pytest

from phantom_edge.foundation.errors import LONGEST, EdgeError


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\u2028b", r"a\r\u2028b"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\ud800", r"\ud800"),
        ("Gerät 器 \\n", "Gerät 器 \\n"),
    ],
)
def test_what_cannot_be_printed_is_escaped(quoted: str, shown: str) -> None:
    error = EdgeError(f"no file {quoted}", "give another")
    assert error.problem == f"no file {shown}" and str(error) == f"no file {shown}\n  give another"
    str(error).encode()


@pytest.mark.parametrize("letter", ["a", "\x1b"])
def test_a_long_problem_is_cut_off(letter: str) -> None:
    problem = EdgeError(letter * 100_000, "give another").problem
    assert problem.endswith(" ...") and len(problem) == LONGEST + 4
    assert EdgeError("a" * LONGEST, "give another").problem == "a" * LONGEST

"""Work for a process pool, in a module that worker processes import quickly."""

import os

from phantom_edge.foundation.errors import EdgeError


def squared(number: int) -> tuple[int, int]:
    """The square, and the process that computed it."""
    return number * number, os.getpid()


def refuses_three(number: int) -> int:
    """The number itself; 3 is a user's mistake."""
    if number == 3:
        raise EdgeError("three is wrong", "give another")
    return number

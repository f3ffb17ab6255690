"""Work for other processes: a module of its own, so that they need not load a whole test."""

import os

from phantom_edge.foundation.errors import EdgeError


def squared(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def picky(number: int) -> int:
    if number == 3:
        raise EdgeError("three is wrong", "give another")
    return number
